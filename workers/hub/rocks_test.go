package hub_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/loatest"
)

// rels finds the addresses of a relation in Link headers, as subscribers do.
func rels(h http.Header, rel string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`<([^>]*)>;\s*rel="?([a-z]+)"?`).FindAllStringSubmatch(strings.Join(h.Values("Link"), ", "), -1) {
		if m[2] == rel {
			all = append(all, m[1])
		}
	}
	return all
}

// one is the only one of a list.
func one(t *testing.T, what string, all []string) string {
	t.Helper()
	if len(all) != 1 {
		t.Fatalf("%s: found %q, want exactly one", what, all)
	}
	return all[0]
}

// TestWebSubRocks asks of the hub what the tests of websub.rocks do, by their numbers. In each, a
// subscriber finds the hub by the topic's Link headers, subscribes with the parameters of the test,
// and gets what is published.
func TestWebSubRocks(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	tests := []struct {
		test   string // number and name
		format string
		with   []string // further parameters
		again  string   // mode of a second request
		secret string
		gets   int // notifications of one change
		*subscriber
	}{
		{test: "100 Typical Subscriber Request", format: "rss", gets: 1},
		{test: "101 Subscription with Secret", format: "rss", with: []string{"hub.secret", "bí mật"}, secret: "bí mật", gets: 1},
		{test: "102 Subscriber Sends Additional Parameters", format: "atom", with: []string{"foo", "bar", "hub.foo", "hub.bar"}, gets: 1},
		{test: "103 Re-Subscribes Before Expiration", format: "atom", again: "subscribe", gets: 1},
		{test: "104 Unsubscription", format: "atom", again: "unsubscribe", gets: 0},
		// Loa has no plain text topics; that a document's bytes and its type are passed on as they
		// are does not depend on what they are.
		{test: "105 Plaintext Topic", format: "rss", gets: 1},
		{test: "106 JSON Topic", format: "json", gets: 1},
	}
	feed := func(test string) string { return "test-" + test[:3] }
	for i := range tests {
		c := &tests[i]
		c.subscriber = newSubscriber(t)
		s.put(feed(c.test), "first")
		header, _ := fetched(t, s.topic(feed(c.test), c.format))
		hub, topic := one(t, "hub", rels(header, "hub")), one(t, "self", rels(header, "self"))
		if hub != s.base+"/hub" || topic != s.topic(feed(c.test), c.format) {
			t.Fatalf("found hub %q, self %q", hub, topic)
		}
		s.wants("subscribe", c.URL+"/sub", topic, c.with...) // demands exactly 202
		if c.again != "" {
			s.wants(c.again, c.URL+"/sub", topic)
		}
	}
	for _, c := range tests {
		s.change(feed(c.test), "second")
	}
	s.settled()
	for _, c := range tests {
		t.Run(c.test, func(t *testing.T) {
			topic := s.topic(feed(c.test), c.format)
			for i, q := range c.questions() {
				mode := "subscribe"
				if i > 0 {
					mode = c.again
				}
				if q.Get("hub.mode") != mode || q.Get("hub.topic") != topic || q.Get("hub.challenge") == "" || (q.Get("hub.lease_seconds") == "864000") != (mode == "subscribe") {
					t.Errorf("verification %d: %v", i, q)
				}
			}
			var header http.Header
			var body string
			loatest.Eventually(t, "the gateway has the change", func() bool {
				header, body = fetched(t, topic)
				return strings.HasPrefix(body, "second")
			})
			got := c.notifications()
			if len(got) != c.gets {
				t.Fatalf("%d notifications, want %d: %q", len(got), c.gets, got)
			}
			for _, n := range got {
				if n.body != body {
					t.Errorf("the notification is %q, the topic %q", n.body, body)
				}
				if n.header.Get("Content-Type") != header.Get("Content-Type") {
					t.Errorf("content type %q, the topic's is %q", n.header.Get("Content-Type"), header.Get("Content-Type"))
				}
				if one(t, "hub", rels(n.header, "hub")) != s.topics.Hub() || one(t, "self", rels(n.header, "self")) != topic {
					t.Errorf("links: %q", n.header["Link"])
				}
				want := ""
				if c.secret != "" {
					want = signature("sha256", sha256.New, c.secret, body)
				}
				if got := n.header.Get("X-Hub-Signature"); got != want {
					t.Errorf("signature %q, want %q", got, want)
				}
			}
		})
	}
	// 100, beyond the notification: publishers tell hubs that a topic changed.
	t.Run("publish", func(t *testing.T) {
		s.put("ping", "first")
		sub := newSubscriber(t)
		topic := s.topic("ping", "atom")
		s.wants("subscribe", sub.URL, topic)
		for i, param := range []string{"hub.topic", "hub.url"} {
			s.put("ping", param)
			if status, text := s.ask(map[string][]string{"hub.mode": {"publish"}, param: {topic}}); status/100 != 2 {
				t.Errorf("%s: %d %s", param, status, text)
			}
			s.settled()
			sub.want(t, []string{"hub.topic", "hub.url"}[:i+1]...)
		}
		// Without a change there is nothing to tell.
		s.ask(map[string][]string{"hub.mode": {"publish"}, "hub.topic": {topic}, "hub.url": {topic}})
		s.settled()
		sub.want(t, "hub.topic", "hub.url")
	})
}

func signature(method string, of func() hash.Hash, key, body string) string {
	mac := hmac.New(of, []byte(key))
	mac.Write([]byte(body))
	return method + "=" + hex.EncodeToString(mac.Sum(nil))
}

func TestSubscribersChooseHowDeliveriesAreSigned(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *options) { o.sha1For = []string{"127.0.0.1"} })
	s.put("phuong", "first")
	topic := s.topic("phuong", "rss")
	sub := newSubscriber(t)
	elsewhere := strings.Replace(sub.URL, "127.0.0.1", "localhost", 1)
	for callback, method := range map[string]string{sub.URL + "/old": "", sub.URL + "/256": "sha256", elsewhere + "/384": "sha384",
		elsewhere + "/512": "sha512", elsewhere + "/default": ""} {
		s.wants("subscribe", callback, topic, "hub.secret", "khoá", "hub.signature", method)
	}
	if status, text := s.ask(request("subscribe", elsewhere, topic, "hub.secret", "khoá", "hub.signature", "sha1")); status != http.StatusBadRequest || !strings.Contains(text, "hub.signature: sha1") {
		t.Errorf("SHA-1 for anybody: %d %s", status, text)
	}
	s.change("phuong", "second")
	s.settled()
	want := map[string]string{}
	for path, method := range map[string]func() hash.Hash{"/old sha1": sha1.New, "/256 sha256": sha256.New, "/384 sha384": sha512.New384, "/512 sha512": sha512.New, "/default sha256": sha256.New} {
		path, name, _ := strings.Cut(path, " ")
		want[path] = signature(name, method, "khoá", "second as rss")
	}
	got := sub.notifications()
	for _, n := range got {
		if sig := n.header.Get("X-Hub-Signature"); sig != want[n.path] {
			t.Errorf("%s is signed %q, want %q", n.path, sig, want[n.path])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d notifications, want %d", len(got), len(want))
	}
}
