package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/mmcdole/gofeed"
	"github.com/nats-io/nats.go"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// attack is a message that a CMS, or somebody who got hold of its password, may send.
type attack struct {
	name    string
	id      string // of the article; empty: one that fits a token
	subject string // empty: the one that belongs to the article
	header  nats.Header
	data    []byte // nil: the event, changed
	change  func(event, article map[string]any)
	// dead is what the reason of the dead letter has to contain. Empty: it becomes an article,
	// which shown checks, as a feed reader gets it.
	dead  string
	shown func(item *gofeed.Item) error
}

// set changes one field of the article.
func set(name string, value any) func(event, article map[string]any) {
	return func(_, article map[string]any) { article[name] = value }
}

func attacks() []attack {
	deep := []byte(strings.Repeat(`{"data":`, 100_000) + "1" + strings.Repeat("}", 100_000))
	all := []attack{
		{name: "empty", data: []byte{}, dead: "nothing"},
		{name: "null", data: []byte("null"), dead: "expected an object"},
		{name: "noise", data: []byte{0xff, 0x00, 0x1b, '[', '3', '1', 'm', 0x9f}, dead: "RFC 7493"},
		{name: "invalid UTF-8", data: []byte("{\"id\":\"\xff\xfe\"}"), dead: "RFC 7493"},
		{name: "100,000 levels", data: deep, dead: "RFC 7493"},
		{name: "duplicate keys", data: []byte(`{"specversion":"1.0","id":"a","id":"b"}`), dead: "/id"},
		{name: "millions of values", data: []byte(`{"data":[` + strings.Repeat("[],", 1<<20) + `1]}`), dead: "values"},
		{name: "another content type", header: nats.Header{"Content-Type": {"text/html"}}, dead: "text/html"},
		{name: "binary mode with broken attributes", header: nats.Header{"ce-id": {"%zz"}, "ce-type": {"x"}}, data: []byte("{}"), dead: "percent-encoded"},
		{name: "header that turns the text around", header: nats.Header{"X-Cms": {"\u202e\u0085", "b"}}, change: set("version", -1), dead: "/data/version"},

		{name: "subject of another article", subject: events.Subject(sample.CauGo, "somebody-elses"), dead: "expected"},
		{name: "subject with made-up tokens", subject: "loa.event." + strings.Repeat("x", 300) + ".\u202e\u0007", dead: "expected"},
		{name: "unknown site", change: set("site", "khong-co"), subject: "loa.event.khong-co.h1", id: "h1", dead: "configured sites"},
		{name: "site with a path", change: set("site", "../../x"), dead: "/data/site"},

		{name: "version 2^63", change: set("version", json.Number("9223372036854775808")), dead: "/data/version"},
		{name: "version below zero", change: set("version", -7), dead: "/data/version"},
		{name: "version 1.5", change: set("version", 1.5), dead: "/data/version"},
		{name: "year 9999", change: set("published", "9999-12-31T23:59:59Z"), dead: "/data/published"},
		{name: "field that is not in the contract", change: set("onclick", "alert(1)"), dead: "/data/onclick"},
		{name: "title of 1 MB", change: set("title", strings.Repeat("dài ", 1<<18)), dead: "/data/title"},
		{name: "title of nothing visible", change: set("title", "\u200b\u200e\u2060"), dead: "/data/title"},
		{name: "file as address", change: set("url", "file:///etc/passwd"), dead: "/data/url"},
		{name: "script as address", change: set("url", "javascript:alert(1)"), dead: "/data/url"},
		{name: "many faults at once", change: func(_, a map[string]any) { a["version"], a["title"], a["url"] = "x", 3, "" }, dead: "/data/url"},

		{name: "vertical tab in the body", change: set("body", "<p>một\u000bhai\u0000ba\ufffe</p>"), shown: holds("một")},
		{name: "control characters in the title", change: set("title", "Tin\u000b\u0008 nóng\u001b[31m"), shown: titled(func(s string) bool { return !strings.ContainsFunc(s, unicode.IsControl) })},
		{name: "bidi override in the title", change: set("title", "Tải \u202egpj.exe\u202c về \u2066x\u2069"), shown: titled(func(s string) bool {
			return !strings.ContainsAny(s, "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
		})},
		{name: "end of CDATA", change: set("body", "<p>a]]><script>alert(1)</script>]]&gt;b</p>"), shown: harmless},
		{name: "end of CDATA in the title", change: set("title", "a]]><script>alert(1)</script>"), shown: titled(func(s string) bool { return s == "a]]><script>alert(1)</script>" })},
		{name: "address with a tab in the scheme", change: set("body", `<p><a href="jav&#x09;ascript:alert(1)">x</a><a href="&#1;javascript:alert(1)">y</a></p>`), shown: harmless},
		{name: "event handlers", change: set("body", `<p onclick="alert(1)"><img src=x onerror=alert(1)><svg/onload=alert(1)><iframe srcdoc="<script>alert(1)</script>"></p>`), shown: harmless},
		{name: "40,000 tags never closed", change: set("body", "<p>mở"+strings.Repeat("<b><div>", 20_000)), shown: holds("mở")},
		{name: "300,000 tags", change: set("body", "<p>mở"+strings.Repeat("<b>", 300_000)), dead: "/data/body"},
		{name: "picture at an address of the cloud's own", change: set("images", []any{map[string]any{"url": "http://169.254.169.254/latest/meta-data/", "role": "lead"}}), shown: harmless},
		{name: "summary with markup", change: set("summary", "<script>alert(1)</script> & ]]> \u000b"), shown: func(i *gofeed.Item) error {
			if strings.ContainsRune(i.Description, '\u000b') {
				return fmt.Errorf("description %q", i.Description)
			}
			return nil
		}},
	}
	for _, id := range []string{"a.b.>", "*", ">", "hai từ", "../../x", "..", "h--00000000000000000000000000000000", "/", "a/b/c", "%2e%2e", strings.Repeat("dài", 80)} {
		all = append(all, attack{name: "id " + id, id: id, shown: harmless})
	}
	for _, id := range []string{"a\r\nb", "a\x00b", "", strings.Repeat("x", 257)} {
		if id == "" {
			all = append(all, attack{name: "no id", change: set("id", ""), dead: "/data/id"})
			continue
		}
		all = append(all, attack{name: fmt.Sprintf("id %.8q", id), id: id, dead: "/data/id"})
	}
	return all
}

// holds expects a harmless body with a text in it.
func holds(text string) func(*gofeed.Item) error {
	return func(i *gofeed.Item) error {
		if !strings.Contains(i.Content, text) {
			return fmt.Errorf("content %.200q, want %q in it", i.Content, text)
		}
		return harmless(i)
	}
}

func titled(right func(string) bool) func(*gofeed.Item) error {
	return func(i *gofeed.Item) error {
		if !right(i.Title) {
			return fmt.Errorf("title %q", i.Title)
		}
		return nil
	}
}

// harmless expects nothing in the body that a browser would run.
func harmless(i *gofeed.Item) error {
	for _, bad := range []string{"<script", "javascript:", "onclick", "onerror", "onload", "<iframe", "<svg", "169.254"} {
		if strings.Contains(strings.ToLower(i.Content), bad) {
			return fmt.Errorf("%s in %.500q", bad, i.Content)
		}
	}
	return nil
}

// message makes the attack's message, for the article of number n.
func (a attack) message(t *testing.T, n int) (*nats.Msg, string) {
	t.Helper()
	id := a.id
	if id == "" {
		id = fmt.Sprintf("tan-cong-%d", n)
	}
	article := map[string]any{
		"site": sample.CauGo, "id": id, "version": 1, "url": fmt.Sprintf("https://caugo.anhoa.example/tin/%d", n),
		"title": "Tin " + a.name, "body": "<p>Nội dung.</p>", "published": sample.Base.Format("2006-01-02T15:04:05Z07:00"),
	}
	event := map[string]any{
		"specversion": "1.0", "id": fmt.Sprintf("attack-%d", n), "source": source, "type": events.TypePublished,
		"datacontenttype": "application/json", "data": article,
	}
	if a.change != nil {
		a.change(event, article)
	}
	m := nats.NewMsg(a.subject)
	if a.subject == "" {
		m.Subject = events.Subject(sample.CauGo, id)
	}
	for name, values := range a.header {
		m.Header[name] = values
	}
	m.Data = a.data
	if a.data == nil {
		var err error
		if m.Data, err = json.Marshal(event); err != nil {
			t.Fatal(err)
		}
	}
	return m, fmt.Sprintf("https://caugo.anhoa.example/tin/%d", n)
}

// Whatever arrives becomes a dead letter that says why, or an article that harms nobody, and
// what comes after it is none the worse.
func TestAttacks(t *testing.T) {
	t.Parallel()
	c := newCity(t, &partner{name: "tat-ca"})
	c.serve()
	js := c.cms()
	all := attacks()
	sequences, addresses := make([]uint64, len(all)), make([]string, len(all))
	for i, a := range all {
		m, address := a.message(t, i)
		addresses[i] = address
		ack, err := js.PublishMsg(t.Context(), m)
		if err != nil {
			t.Fatalf("%s: %v", a.name, err)
		}
		sequences[i] = ack.Sequence
	}
	// What an attack was about can still be published rightly.
	good := sample.Articles(c.pictures)[0]
	good.Site, good.ID, good.Images, good.Title = sample.CauGo, "tan-cong-14", nil, "Sau cơn mưa"
	publish(t, js, []events.Event{events.NewPublished(source, good)}, 0, newLedger())
	s := c.session()
	c.level(s)

	letters := map[uint64]streams.DeadLetter{}
	for l, err := range s.dead.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		checkReadable(t, l)
		if !l.Warning {
			letters[l.Origin] = l
		}
	}
	items := map[string]*gofeed.Item{}
	for _, format := range []string{"rss", "atom", "json"} {
		for _, item := range readWellFormed(t, c.gateway+"/feeds/"+sample.CauGo+"/feed."+format) {
			items[format+" "+item.Link] = item
		}
	}
	for i, a := range all {
		l, isDead := letters[sequences[i]]
		said := l.Reason + " " + strings.Join(l.Faults, "; ")
		switch {
		case a.dead != "" && !isDead:
			t.Errorf("%s: want a dead letter", a.name)
		case a.dead != "" && !strings.Contains(said, a.dead):
			t.Errorf("%s: the dead letter says %q, want %q in it", a.name, said, a.dead)
		case a.dead == "" && isDead:
			t.Errorf("%s: dead letter: %s", a.name, said)
		}
		if a.dead != "" {
			continue
		}
		for _, format := range []string{"rss", "atom", "json"} {
			if item := items[format+" "+addresses[i]]; item == nil {
				t.Errorf("%s: not in the %s feed", a.name, format)
			} else if err := a.shown(item); err != nil {
				t.Errorf("%s, %s: %v", a.name, format, err)
			}
		}
	}
	if item := items["rss "+good.URL]; item == nil || item.Title != good.Title {
		t.Errorf("the good article is not in the feed: %v", item)
	}
	for _, p := range c.partners {
		for _, h := range p.receiver.Held() {
			if strings.ContainsFunc(h.Bulletin.Data.Title, unicode.IsControl) {
				t.Errorf("portal was told %q", h.Bulletin.Data.Title)
			}
		}
	}
	if status, out, faults := c.command("dead", "ls", "--data", c.data); status != 0 || strings.ContainsFunc(strings.ReplaceAll(out, "\n", ""), unicode.IsControl) {
		t.Errorf("loa dead ls: status %d, %q %q", status, out, faults)
	}
}

// checkReadable demands of a dead letter that it can be shown on any terminal.
func checkReadable(t *testing.T, l streams.DeadLetter) {
	t.Helper()
	for _, text := range append(l.Faults, l.Reason, l.Key) {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || len(text) > 3000 {
			t.Errorf("dead letter of %s says %q", l.Key, text)
		}
	}
}

// readWellFormed reads a feed as the strictest of readers do.
func readWellFormed(t *testing.T, address string) []*gofeed.Item {
	t.Helper()
	body, err := eventually(t.Context(), func() ([]byte, error) { return fetch(t.Context(), address) })
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(address, ".json") {
		if !json.Valid(body) {
			t.Errorf("%s is not JSON", address)
		}
	} else {
		for d := xml.NewDecoder(bytes.NewReader(body)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", address, err)
			}
		}
	}
	feed, err := gofeed.NewParser().Parse(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	return feed.Items
}
