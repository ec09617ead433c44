package intake_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

// encoded is the event as a publisher sends it, with changes to the text.
func encoded(t testing.TB, ev events.Event, oldnew ...string) []byte {
	t.Helper()
	data, err := ev.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(oldnew); i += 2 {
		if !bytes.Contains(data, []byte(oldnew[i])) {
			t.Fatalf("no %s in %s", oldnew[i], data)
		}
	}
	return []byte(strings.NewReplacer(oldnew...).Replace(string(data)))
}

func TestADeadLetterNamesEveryFault(t *testing.T) {
	t.Parallel()
	b := start(t)
	data := encoded(t, snapshot("tin-1", 1), `"version":1`, `"version":-3`, `"title":`, `"headline":`, `"url":"https:`, `"url":"ftp:`)
	b.raw(events.Subject(siteID, "tin-1"), data)
	b.settled()
	l := b.letter()
	if l.Reason != "the event breaks the contract" || l.Key != siteID+".tin-1" || !bytes.Equal(l.Data, data) || l.Origin == 0 {
		t.Errorf("letter %+v", l)
	}
	for _, want := range []string{
		"/data/version: got -3, expected ",
		"/data/title: got nothing, expected ",
		"/data/headline: got ",
		`/data/url: got "ftp://an-khanh.example.vn/tin/5", expected `,
	} {
		if !slices.ContainsFunc(l.Faults, func(f string) bool { return strings.HasPrefix(f, want) }) {
			t.Errorf("no fault %q in %q", want, l.Faults)
		}
	}
	b.stays("tin-1", "")
}

func TestAnUnknownSiteIsSetAside(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, func(a *events.Article) { a.Site = "sao-hoa" }))
	if l := b.letter(); l.Reason != `/data/site: got "sao-hoa", expected one of the configured sites` {
		t.Errorf("reason %q", l.Reason)
	}
	if n := b.storeEqualsLog(); n != 0 {
		t.Errorf("%d articles", n)
	}
}

// A CMS may be allowed the subjects of its own site alone.
func TestAnEventSpeaksOnlyForItsSubject(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1))
	other := snapshot("tin-1", 2)
	for _, subject := range []string{events.Subject("thu-thiem", "tin-1"), events.Subject(siteID, "tin-2")} {
		b.raw(subject, encoded(t, other))
	}
	b.raw(events.Subject("thu-thiem", "tin-1"), encoded(t, withdrawal("tin-1", 9)))
	b.settled()
	b.stays("tin-1", "1")
	if n := b.storeEqualsLog(); n != 1 {
		t.Errorf("%d articles, want 1", n)
	}
	letters := b.letters()
	if len(letters) != 3 {
		t.Fatalf("letters: %+v", letters)
	}
	for _, l := range letters { // in no order: they are about different subjects
		if want := fmt.Sprintf("subject %q: expected %q, by the event's site and article", l.Subject, events.Subject(siteID, "tin-1")); l.Reason != want {
			t.Errorf("reason %q, want %q", l.Reason, want)
		}
	}
}

func TestStrangeIDsBecomeSafeTokens(t *testing.T) {
	t.Parallel()
	b := start(t)
	strange := []string{"a.b.>", "*", ">", "a b", "../../x", "..", "Tin số 1", "h--", strings.Repeat("a", 256), "%2e%2e", `"'<>&`}
	for _, id := range strange {
		b.publish(snapshot(id, 1))
	}
	b.settled()
	b.noLetters()
	for _, id := range strange {
		a := b.article(id)
		if a == nil || a.ID != id {
			t.Errorf("%q: %+v", id, a)
		}
		key := streams.KeyOf(siteID, id)
		if !strings.HasPrefix(key.Object(), "articles/an-khanh/h--") || strings.Count(key.Object(), "/") != 2 {
			t.Errorf("%q has the object %q", id, key.Object())
		}
	}
	if n := b.storeEqualsLog(); n != len(strange) {
		t.Errorf("%d articles, want %d", n, len(strange))
	}
}

func TestAttacksEndAsDeadLettersAndHarmNothing(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1))
	good := snapshot("tin-1", 2)
	attacks := map[string][]byte{
		"empty":              {},
		"not JSON":           []byte("<xml/>"),
		"null":               []byte("null"),
		"version 2^63":       encoded(t, good, `"version":2`, `"version":9223372036854775808`),
		"version 2^53":       encoded(t, good, `"version":2`, `"version":9007199254740992`),
		"negative version":   encoded(t, good, `"version":2`, `"version":-2`),
		"huge exponent":      encoded(t, good, `"version":2`, `"version":1e999999999`),
		"text for a version": encoded(t, good, `"version":2`, `"version":"2"`),
		"year 9999":          encoded(t, good, `"published":"2026-`, `"published":"9999-`),
		"id with CR LF":      encoded(t, good, `"id":"tin-1"`, `"id":"tin-1\r\n1"`),
		"duplicate keys":     encoded(t, good, `"version":2`, `"version":2,"version":3`),
		"unknown key":        encoded(t, good, `"version":2`, `"version":2,"x":[]`),
		"lone surrogate":     encoded(t, good, `bản 2"`, `\ud800"`),
		"invalid UTF-8":      encoded(t, good, `bản 2"`, "\xff\xfe\""),
		"deep":               []byte(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)),
		"deep objects":       []byte(strings.Repeat(`{"a":`, 100_000)),
		"body of deep HTML":  encoded(t, good, `<p>`, strings.Repeat("<div>", 150_000)),
	}
	for _, data := range attacks {
		b.raw(events.Subject(siteID, "tin-1"), data)
	}
	b.settled()
	letters := b.letters()
	for _, l := range letters {
		if l.Reason == "" || l.Key != siteID+".tin-1" {
			t.Errorf("letter %+v", l)
		}
	}
	if len(letters) != len(attacks) {
		about := slices.Sorted(maps.Keys(attacks))
		for _, l := range letters {
			t.Logf("%s %q", l.Reason, l.Faults)
		}
		t.Errorf("%d letters for %d attacks: %q", len(letters), len(attacks), about)
	}
	b.stays("tin-1", "1")
	b.take(good)
	b.stays("tin-1", "2")
	if n := b.storeEqualsLog(); n != 1 {
		t.Errorf("%d articles, want 1", n)
	}
}

// Anybody who may publish events chooses the subject too, within the stream's.
func TestHostileSubjectsAreSetAsideUnderSafeKeys(t *testing.T) {
	t.Parallel()
	b := start(t)
	subjects := []string{
		"loa.event.an-khanh." + strings.Repeat("a", 3900), // NATS takes lines of 4,096 bytes
		"loa.event.an-khanh.Tin\x01\u202e",
		"loa.event.$SYS.$JS",
		"loa.event.an-khanh.h--zz",
	}
	for _, s := range subjects {
		b.raw(s, encoded(t, snapshot("tin-1", 1)))
	}
	n := len(subjects)
	for _, s := range []string{"loa.event.an-khanh.*", "loa.event.an-khanh.>"} {
		// The server may refuse a wildcard.
		if _, err := b.js.PublishMsg(t.Context(), &nats.Msg{Subject: s, Data: encoded(t, snapshot("tin-1", 1))}); err == nil {
			n++
		} else {
			t.Logf("%s: %v", s, err)
		}
	}
	b.settled()
	letters := b.letters()
	if len(letters) != n {
		t.Errorf("%d letters, want %d", len(letters), n)
	}
	for _, l := range letters {
		if site, id, ok := strings.Cut(l.Key, "."); !ok || strings.ContainsAny(id, ".*> ") || len(site) > 64 || len(id) > 64 {
			t.Errorf("key %q", l.Key)
		}
	}
	b.take(snapshot("tin-1", 1))
	b.stays("tin-1", "1")
}

func TestADeadLetterThatIsRetriedComesAgain(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1))
	b.take(snapshot("tin-1", 1, func(a *events.Article) { a.Title = "Một bài khác" }))
	l := b.letter()
	// In the meantime the article was taken out of the log by hand.
	s, err := b.js.Stream(t.Context(), streams.Articles)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.dead.Retry(t.Context(), l.Seq); err != nil {
		t.Fatal(err)
	}
	b.settled()
	if a := b.article("tin-1"); a == nil || a.Title != "Một bài khác" {
		t.Errorf("article is %+v", a)
	}
	b.noLetters()
}

func TestAnArticleTooLargeIsSetAside(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.take(snapshot("tin-1", 1, func(a *events.Article) {
		a.Body = "<p>" + strings.Repeat("Tin dài. ", 90_000) + "</p>"
	}))
	l := b.letter()
	if !strings.HasPrefix(l.Reason, "/data/body: ") || !strings.Contains(l.Reason, "524288 bytes") {
		t.Errorf("reason %q", l.Reason)
	}
}

func TestAnEventInBinaryModeIsTaken(t *testing.T) {
	t.Parallel()
	b := start(t)
	ev := snapshot("tin-1", 1)
	data, err := json.Marshal(ev.Article)
	if err != nil {
		t.Fatal(err)
	}
	header := nats.Header{
		"Content-Type": {"application/json"}, "ce-specversion": {"1.0"}, "ce-id": {ev.ID}, "ce-source": {ev.Source}, "ce-type": {ev.Type},
	}
	if _, err := b.js.PublishMsg(t.Context(), &nats.Msg{Subject: events.Subject(siteID, "tin-1"), Header: header, Data: data}); err != nil {
		t.Fatal(err)
	}
	b.settled()
	b.noLetters()
	b.stays("tin-1", "1")
}

func TestDeadLettersThatCannotBeStoredKeepTheirEventsWaiting(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s, err := b.js.Stream(t.Context(), streams.DeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	full := s.CachedInfo().Config
	room := full.MaxBytes
	full.MaxBytes = 1
	if _, err := b.js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	b.run(func(o *intake.Options) { o.Metrics = b.counts })
	b.raw(events.Subject(siteID, "tin-1"), []byte("{}"))
	b.publish(snapshot("tin-2", 1))
	b.becomes("tin-2", "1")
	loatest.Eventually(t, "the bad event was tried twice", func() bool { return b.count("retried") > 1 })
	b.noLetters()
	full.MaxBytes = room
	if _, err := b.js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	b.settled()
	if l := b.letter(); l.Key != siteID+".tin-1" {
		t.Errorf("letter %+v", l)
	}
}
