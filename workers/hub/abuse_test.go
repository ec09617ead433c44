package hub_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/websub"
)

func TestRequestsThatAreNotForThisHubAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.put("phuong", "first")
	sub := newSubscriber(t)
	form := "application/x-www-form-urlencoded"
	good := request("subscribe", sub.URL, s.topic("phuong", "rss"))
	for name, c := range map[string]struct {
		method, contentType, body string
		status                    int
		text                      string
	}{
		"GET":             {"GET", "", "", 405, "WebSub hub"},
		"JSON":            {"POST", "application/json", "{}", 415, "form-urlencoded"},
		"no form":         {"POST", form, "%zz", 400, "cannot be read"},
		"large":           {"POST", form, good.Encode() + "&x=" + strings.Repeat("x", 20_000), 413, "bytes"},
		"foreign topic":   {"POST", form, request("subscribe", sub.URL, "https://elsewhere.example/feed").Encode(), 400, "hub.topic"},
		"archive":         {"POST", form, request("subscribe", sub.URL, s.base+"/feeds/phuong/archive/2026-01.atom").Encode(), 400, "hub.topic"},
		"no such feed":    {"POST", form, request("subscribe", sub.URL, s.topic("elsewhere", "rss")).Encode(), 400, "no such feed"},
		"foreign publish": {"POST", form, "hub.mode=publish&hub.url=https://elsewhere.example/feed", 400, "hub.topic"},
		"all at once":     {"POST", form, "hub.mode=subscribe&hub.lease_seconds=x", 400, "hub.callback: missing, expected an http or https address\nhub.lease_seconds"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, s.topics.Hub(), strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", c.contentType)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			text := make([]byte, 1000)
			n, _ := res.Body.Read(text)
			if res.StatusCode != c.status || !strings.Contains(string(text[:n]), c.text) {
				t.Errorf("%s %q, want %d and %q", res.Status, text[:n], c.status, c.text)
			}
		})
	}
	// A ping for a topic without subscribers raises nothing.
	if status, _ := s.ask(url.Values{"hub.mode": {"publish"}, "hub.url": {s.topic("nothing", "rss")}}); status != http.StatusNoContent {
		t.Errorf("publish: %d", status)
	}
	s.settled()
	if n := len(sub.questions()); n != 0 {
		t.Errorf("the callback was asked %d times", n)
	}
}

// Whatever is asked in a callback's name, it decides itself; and until it has, nothing changes.
func TestNothingChangesUntilTheCallbackConfirms(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.put("phuong", "0")
	topic := s.topic("phuong", "atom")
	sub := newSubscriber(t)
	callback := sub.URL + "/cb?key=a%20b&hub.mode=mine"
	s.wants("subscribe", callback, topic, "hub.secret", "old", "hub.lease_seconds", "3600")
	before, ok := s.subscribed(callback, "phuong", "atom")
	if !ok {
		t.Fatal("not subscribed")
	}
	if q := sub.questions()[0]; q.Get("key") != "a b" || q["hub.mode"][0] != "mine" || q["hub.mode"][1] != "subscribe" {
		t.Errorf("the callback's own query was not kept: %v", q)
	}
	for i, confirm := range []func(){
		func() { sub.denies = true },
		func() { sub.denies, sub.says = false, func(challenge string) string { return challenge + "\n" } },
		func() { sub.says = func(string) string { return "" } },
		func() { sub.says = func(c string) string { return c + strings.Repeat(" ", 10_000) } },
		func() { sub.redirect = sub.URL + "/other" },
	} {
		sub.set(confirm)
		s.wants("subscribe", callback, topic, "hub.secret", "forged", "hub.lease_seconds", "1000000")
		s.wants("unsubscribe", callback, topic)
		if n := len(sub.questions()); n != 1+2*(i+1) {
			t.Errorf("%d questions after %d requests: each is asked once", n, 2*(i+1))
		}
		if now, _ := s.subscribed(callback, "phuong", "atom"); now != before {
			t.Errorf("%d: the subscription was changed to %+v", i, now)
		}
	}
	s.change("phuong", "1")
	s.settled()
	sub.set(func() { sub.redirect, sub.says = "", func(challenge string) string { return challenge } })
	s.wants("subscribe", callback, topic, "hub.secret", "new", "hub.lease_seconds", "1000000000")
	if q := sub.questions(); q[len(q)-1].Get("hub.lease_seconds") != "2592000" {
		t.Errorf("asked for a lease of 10^9 s, the callback is told %s s", q[len(q)-1].Get("hub.lease_seconds"))
	}
	if now, _ := s.subscribed(callback, "phuong", "atom"); now.Expires.Before(before.Expires.Add(700*time.Hour)) || now.Since != before.Since || now.Renewed.IsZero() {
		t.Errorf("renewed to %+v", now)
	}
	s.change("phuong", "2")
	s.settled()
	sub.want(t, "1", "2")
	for i, n := range sub.notifications() {
		key := []string{"old", "new"}[i]
		if n.header.Get("X-Hub-Signature") != websub.SHA256.Sign(secret.Secret(key), []byte(n.body)) {
			t.Errorf("notification %d is not signed with the %s secret", i, key)
		}
		if n.path != "/cb?key=a%20b&hub.mode=mine" {
			t.Errorf("posted to %s", n.path)
		}
	}
	s.wants("unsubscribe", callback, topic)
	s.change("phuong", "3")
	s.settled()
	sub.want(t, "1", "2")
	if _, ok := s.subscribed(callback, "phuong", "atom"); ok {
		t.Error("still subscribed")
	}
}

func TestPrivateCallbacksAreCalledNeitherToVerifyNorToDeliver(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *options) { o.allow = nil })
	s.put("phuong", "first")
	sub := newSubscriber(t)
	s.wants("subscribe", sub.URL, s.topic("phuong", "rss"))
	s.wants("subscribe", "http://169.254.169.254/latest/meta-data", s.topic("phuong", "rss"))
	if n, _ := s.subs.Counts(); n != 0 {
		t.Errorf("%d subscriptions", n)
	}
	// A name that led elsewhere when it was verified.
	q := websub.Request{Mode: websub.ModeSubscribe, Callback: sub.URL + "/rebound", Topic: websub.Topic{Feed: "phuong", Format: "rss"}, Lease: time.Hour, Method: websub.SHA256}
	if _, err := s.subs.Activate(t.Context(), q, "192.0.2.1", time.Now()); err != nil {
		t.Fatal(err)
	}
	s.settled()
	d := s.subs.Delivery(q.ID())
	if !strings.Contains(d.Error, "refused") || d.Failures != 1+len(s.o.retries) || d.FailingSince.IsZero() {
		t.Errorf("delivery: %+v", d)
	}
	if len(sub.questions())+len(sub.notifications()) != 0 {
		t.Error("a private callback was called")
	}
	if _, ok := s.subs.Get(q.ID()); !ok {
		t.Error("the subscription ended before its lease")
	}
}

func TestOneHostGetsNoMoreThanItsShare(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	const share = 20
	s := start(t, func(o *options) { o.caps.PerHost, o.caps.PerAddress = share, share+2 })
	s.put("phuong", "first")
	topic := s.topic("phuong", "rss")
	sub := newSubscriber(t)
	statuses := map[int]int{}
	for i := range 100 {
		status, _ := s.ask(request("subscribe", fmt.Sprintf("%s/%d", sub.URL, i), topic))
		statuses[status]++
	}
	s.settled()
	// Each was confirmed, denied, told to come again, or refused.
	if n, _ := s.subs.Counts(); n != share || statuses[http.StatusAccepted]+statuses[http.StatusTooManyRequests]+statuses[http.StatusForbidden] != 100 {
		t.Errorf("%d subscriptions, answers %v", n, statuses)
	}
	if status, text := s.ask(request("subscribe", sub.URL+"/more", topic)); status != http.StatusForbidden {
		t.Errorf("one more: %d %s", status, text)
	}
	// Renewals are no more.
	s.wants("subscribe", sub.URL+"/0", topic, "hub.lease_seconds", "7200")
	// Other names of the same machine.
	other := newSubscriber(t)
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	for i := range 4 {
		s.wants("subscribe", fmt.Sprintf("%s/%d", elsewhere, i), topic)
	}
	if n, _ := s.subs.Counts(); n != share+2 {
		t.Errorf("%d subscriptions at one IP address", n)
	}
	denied := 0
	for _, q := range other.questions() {
		if q.Get("hub.mode") == "denied" && q.Get("hub.topic") == topic && strings.Contains(q.Get("hub.reason"), "22 subscriptions") {
			denied++
		}
	}
	if denied != 2 {
		t.Errorf("%d denials: %v", denied, other.questions())
	}
}

func TestStrangersDoNotShutAHostOutByAskingInItsName(t *testing.T) {
	t.Parallel()
	const share = 4
	s := start(t, func(o *options) { o.caps.PerHost = share })
	s.put("phuong", "first")
	topic, sub := s.topic("phuong", "rss"), newSubscriber(t)
	s.wants("subscribe", sub.URL+"/real", topic)
	s.stop() // what is asked waits, as where the host answers slowly
	statuses := map[int]int{}
	for i := range 2 * share {
		for _, mode := range []string{"subscribe", "unsubscribe"} {
			status, _ := s.ask(request(mode, fmt.Sprintf("%s/%s-%d", sub.URL, mode, i), topic))
			statuses[status]++
		}
	}
	if _, waiting := s.asked.Counts(); waiting != share || statuses[http.StatusAccepted] != share || statuses[http.StatusTooManyRequests] != 3*share {
		t.Errorf("%d requests wait, answers %v", waiting, statuses)
	}
	for _, mode := range []string{"unsubscribe", "subscribe"} {
		if status, text := s.ask(request(mode, sub.URL+"/real", topic)); status != http.StatusAccepted {
			t.Errorf("%s of who has a subscription: %d %s", mode, status, text)
		}
	}
	sub.set(func() { sub.denies = true })
	s.work()
	s.settled()
	sub.set(func() { sub.denies = false })
	for i := range share - 1 {
		s.wants("subscribe", fmt.Sprintf("%s/new-%d", sub.URL, i), topic)
	}
	if n, waiting := s.subs.Counts(); n != share || waiting != 0 {
		t.Errorf("%d subscriptions, %d requests", n, waiting)
	}
}

func TestLeasesEndInSilence(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	s := start(t, nil)
	s.put("phuong", "first")
	sub := newSubscriber(t)
	s.wants("subscribe", sub.URL, s.topic("phuong", "rss"), "hub.lease_seconds", "1")
	loatest.Eventually(t, "the lease ends", func() bool {
		_, ok := s.subscribed(sub.URL, "phuong", "rss")
		return !ok
	})
	s.change("phuong", "second")
	// One that was flagged before.
	s.raise(websub.DeliverFlag(sub.URL, websub.NewID(sub.URL, websub.Topic{Feed: "phuong", Format: "rss"}), 0))
	s.settled()
	sub.want(t)
	if q := sub.questions(); len(q) != 1 || q[0].Get("hub.lease_seconds") != "1" {
		t.Errorf("the callback was asked %v", q)
	}
	// It may come back, and is not sent what it has not seen change.
	s.wants("subscribe", sub.URL, s.topic("phuong", "rss"))
	sub.want(t)
	s.change("phuong", "third")
	s.settled()
	sub.want(t, "third")
}

func TestAllowIsForWhatItNames(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *options) { o.allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	s.put("phuong", "first")
	sub := newSubscriber(t)
	s.wants("subscribe", sub.URL, s.topic("phuong", "rss"))
	if n := len(sub.questions()); n != 0 {
		t.Errorf("asked %d times", n)
	}
}
