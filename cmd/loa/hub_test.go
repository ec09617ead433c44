package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mmcdole/gofeed"

	"github.com/loa-syndication/loa/internal/sample"
)

// reader is a FreshRSS as a hub sees it: it sends no secret, confirms what it asked for itself, and
// trusts a hub once the first feed was pushed to it.
type reader struct {
	*httptest.Server
	mu     sync.Mutex
	topic  string
	good   bool // the hub
	titles []string
	faults []string
	denied string
}

// maxPush is from which size on FreshRSS does not take what is pushed to it, in bytes.
const maxPush = 3 << 20

func newReader(t *testing.T, topic string) *reader {
	t.Helper()
	r := &reader{topic: topic}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *reader) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := req.URL.Query()
	switch {
	case q.Get("k") != "key":
		http.Error(w, "bad key", http.StatusNotFound)
	case q.Get("hub.mode") == "denied":
		r.denied = q.Get("hub.reason")
	case q.Get("hub.mode") == "subscribe" && q.Get("hub.topic") == r.topic:
		io.WriteString(w, q.Get("hub.challenge"))
	case req.Method == http.MethodPost:
		body, err := io.ReadAll(req.Body)
		if err == nil && len(body) > maxPush {
			err = fmt.Errorf("%d bytes", len(body))
		}
		if self := relsOf(req.Header, "self"); err == nil && !slices.Equal(self, []string{r.topic}) {
			err = fmt.Errorf("self is %q", self)
		}
		var feed *gofeed.Feed
		if err == nil {
			feed, err = gofeed.NewParser().Parse(bytes.NewReader(body))
		}
		if err != nil {
			r.faults = append(r.faults, err.Error())
			return
		}
		r.good = true
		r.titles = nil
		for _, it := range feed.Items {
			r.titles = append(r.titles, it.Title)
		}
	default:
		http.NotFound(w, req)
	}
}

func (r *reader) has(title string) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.good && slices.Contains(r.titles, title)
	}
}

// relsOf finds the addresses of a relation in Link headers.
func relsOf(h http.Header, rel string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`<([^>]*)>; rel="([a-z]+)"`).FindAllStringSubmatch(strings.Join(h.Values("Link"), ", "), -1) {
		if m[2] == rel {
			all = append(all, m[1])
		}
	}
	return all
}

// linksIn finds those in a feed itself.
func linksIn(t *testing.T, body []byte, rel string) (all []string) {
	t.Helper()
	if body[0] == '{' {
		var feed struct {
			FeedURL string `json:"feed_url"`
			Hubs    []struct{ URL string }
		}
		if err := json.Unmarshal(body, &feed); err != nil {
			t.Fatal(err)
		}
		if rel == "self" {
			return []string{feed.FeedURL}
		}
		for _, hub := range feed.Hubs {
			all = append(all, hub.URL)
		}
		return all
	}
	for d := xml.NewDecoder(bytes.NewReader(body)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok || e.Name.Local != "link" {
			continue
		}
		attr := map[string]string{}
		for _, a := range e.Attr {
			attr[a.Name.Local] = a.Value
		}
		if attr["rel"] == rel {
			all = append(all, attr["href"])
		}
	}
}

// publishText publishes an article of the ward.
func (c *city) publishText(id, title string) {
	c.t.Helper()
	c.runLines(line{"publish --data {data} --wait 0s " + c.write(id+".md", "---\nsite: "+sample.CauGo+"\nid: "+id+
		"\nurl: https://caugo.anhoa.example/"+id+"\ntitle: "+title+"\n---\nNội dung.\n"), 0, nil})
}

// The whole way: what the CMS says is pushed to a reader that found the hub in the feed. The first
// part is what websub.rocks asks of a publisher.
func TestAReaderIsPushedWhatItsFeedBecomes(t *testing.T) {
	t.Parallel()
	c := newCity(t)
	config, err := os.ReadFile(c.config)
	if err == nil {
		err = os.WriteFile(c.config, append(config, "\nhub: {allow: [127.0.0.0/8]}\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.serve()
	c.publishText("mot", "Tin một")
	topic := c.gateway + "/feeds/" + sample.CauGo + "/feed.atom"
	waitFor(t, "the feed", func() bool {
		status, _ := c.read("/feeds/"+sample.CauGo+"/feed.atom", "")
		return status == http.StatusOK
	})
	for _, format := range []string{"rss", "atom", "json"} {
		address := c.gateway + "/feeds/" + sample.CauGo + "/feed." + format
		res, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for what, self := range map[string][]string{"header": relsOf(res.Header, "self"), "body": linksIn(t, body, "self")} {
			if !slices.Equal(self, []string{address}) {
				t.Errorf("self in the %s of the %s: %q", what, format, self)
			}
		}
		for what, hubs := range map[string][]string{"header": relsOf(res.Header, "hub"), "body": linksIn(t, body, "hub")} {
			if !slices.Equal(hubs, []string{c.gateway + "/hub"}) {
				t.Errorf("hubs in the %s of the %s: %q", what, format, hubs)
			}
		}
	}

	r := newReader(t, topic)
	callback := r.URL + "/p/api/pshb.php?k=key"
	res, err := http.PostForm(c.gateway+"/hub", url.Values{"hub.verify": {"sync"}, "hub.mode": {"subscribe"}, "hub.topic": {topic}, "hub.callback": {callback}})
	if err != nil || res.StatusCode != http.StatusAccepted {
		t.Fatal(res, err)
	}
	res.Body.Close()
	waitFor(t, "the reader to be subscribed", func() bool {
		_, out, _ := c.command("hub", "ls", "--data", c.data)
		return strings.Contains(out, " active ")
	})
	c.publishText("hai", "Tin hai")
	waitFor(t, "the push", r.has("Tin hai"))
	c.loa.Kill()
	c.serve()
	c.publishText("ba", "Tin ba")
	waitFor(t, "the push after a restart", r.has("Tin ba"))

	c.runLines(
		line{"hub ls --data {data} --host elsewhere.example", 0, []string{"No subscriptions."}},
		line{"hub drop --data {data} 0123456789ab", 1, []string{`no subscription has the id "0123456789ab"`}},
		line{"hub drop --data {data}", 1, []string{"expected either ids"}},
		line{"hub drop --data {data} --host 127.0.0.1 --reason Nhầm", 0, []string{"1 dropped."}},
	)
	waitFor(t, "the reader to be told", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.denied == "Nhầm"
	})
	if _, out, _ := c.command("hub", "ls", "--data", c.data, "--json"); out != "" {
		t.Errorf("still subscribed: %s", out)
	}
	if len(r.faults) > 0 {
		t.Errorf("what was pushed: %q", r.faults)
	}
}
