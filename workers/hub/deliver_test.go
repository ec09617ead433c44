package hub_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/internal/websub"
	"github.com/loa-syndication/loa/workers/hub"
)

var subscribers = flag.Int("subscribers", 300, "how many subscribers one feed has")

func TestDeliveriesThatFailAreTriedAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	s := start(t, nil)
	for name, c := range map[string]struct {
		statuses []int
		gets     int  // requests for the second state
		has      bool // it at last
		third    bool // a further state comes
	}{
		"host-fails":    {[]int{500, 503, 502}, 4, true, true},
		"refuses-once":  {[]int{404}, 2, true, true},
		"redirects":     {[]int{301, 307}, 3, true, true},
		"accepts":       {[]int{202}, 1, true, true},
		"refuses":       {[]int{404, 403, 400}, 3, false, true}, // given up, until the topic changes
		"redirect-only": {[]int{302, 302, 302}, 3, false, true},
		"gone":          {[]int{410}, 1, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s.put(name, "first")
			sub := newSubscriber(t)
			s.wants("subscribe", sub.URL, s.topic(name, "rss"))
			sub.set(func() { sub.statuses = c.statuses })
			s.change(name, "second")
			s.settled()
			loatest.Eventually(t, "all attempts were made", func() bool { return len(sub.bodies()) >= c.gets })
			s.settled()
			want := slices.Repeat([]string{"second"}, c.gets)
			sub.want(t, want...)
			id := websub.NewID(sub.URL, websub.Topic{Feed: name, Format: "rss"})
			if d := s.subs.Delivery(id); c.has == d.At.IsZero() || c.has != d.FailingSince.IsZero() && name != "gone" {
				t.Errorf("delivery: %+v", d)
			}
			if c.third {
				want = append(want, "third")
			}
			s.change(name, "third")
			s.settled()
			sub.want(t, want...)
			for _, n := range sub.notifications() {
				if n.path != "/" {
					t.Errorf("a redirect was followed to %s", n.path)
				}
			}
			if _, ok := s.subs.Get(id); ok != c.third {
				t.Errorf("subscribed: %t", ok)
			}
		})
	}
}

func TestASlowSubscriberGetsTheLatestStateAndOthersDoNotWait(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *options) { o.timeout = time.Minute })
	s.put("phuong", "0")
	slow, quick := newSubscriber(t), newSubscriber(t)
	release := make(chan struct{})
	slow.hang = release
	for _, sub := range []*subscriber{slow, quick} {
		s.wants("subscribe", sub.URL, s.topic("phuong", "json"))
	}
	for i := 1; i <= 4; i++ {
		s.change("phuong", fmt.Sprint(i))
		loatest.Eventually(t, "the quick one has it", func() bool { return len(quick.bodies()) == i })
		loatest.Eventually(t, "the slow one has something", func() bool { return len(slow.bodies()) == 1 })
	}
	quick.want(t, "1", "2", "3", "4")
	close(release)
	loatest.Eventually(t, "the slow one has the latest", func() bool { return len(slow.bodies()) == 2 })
	s.settled()
	slow.want(t, "1", "4")
}

func TestSubscriptionsSurviveRestartsAndAreShared(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	const hosts, callbacks = 6, 5
	s.put("phuong", "first")
	var subs []*subscriber
	for range hosts {
		sub := newSubscriber(t)
		subs = append(subs, sub)
		for i := range callbacks {
			if status, text := s.ask(request("subscribe", fmt.Sprintf("%s/%d", sub.URL, i), s.topic("phuong", "rss"), "hub.secret", "never in clear")); status != http.StatusAccepted {
				t.Fatal(status, text)
			}
		}
	}
	s.settled()
	kv, err := s.js.KeyValue(t.Context(), streams.SubscriptionsBucket)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if e, err := kv.Get(t.Context(), key); err != nil || strings.Contains(string(e.Value()), "never in clear") {
			t.Errorf("%s: %s, %v", key, e.Value(), err)
		}
	}
	got := func() (n int) {
		for _, sub := range subs {
			n += len(sub.notifications())
		}
		return n
	}
	// What changes while nobody works is delivered once, as it is then.
	s.stop()
	for _, body := range []string{"second", "third"} {
		s.change("phuong", body)
	}
	// What is asked meanwhile is verified later.
	if status, text := s.ask(request("subscribe", subs[0].URL+"/late", s.topic("phuong", "rss"), "hub.secret", "never in clear")); status != http.StatusAccepted {
		t.Fatal(status, text)
	}
	for range 2 { // which share the work
		s.subs = s.open(true)
		s.work()
	}
	s.settled()
	loatest.Eventually(t, "all were told", func() bool { return got() >= hosts*callbacks })
	s.change("phuong", "fourth")
	s.settled()
	loatest.Eventually(t, "all were told again", func() bool { return got() >= 2*hosts*callbacks+1 })
	s.settled()
	for _, sub := range subs {
		byPath := map[string][]string{}
		for _, n := range sub.notifications() {
			byPath[n.path] = append(byPath[n.path], n.body)
			if n.header.Get("X-Hub-Signature") != websub.SHA256.Sign("never in clear", []byte(n.body)) {
				t.Error("not signed with the secret")
			}
		}
		for path, bodies := range byPath {
			if last := len(bodies) - 1; bodies[last] != "fourth as rss" || len(slices.Compact(slices.Clone(bodies))) != len(bodies) {
				t.Errorf("%s got %q", path, bodies)
			}
		}
	}
}

func TestWhatChangesWhileASubscriptionIsVerifiedIsDelivered(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.put("phuong", "first")
	sub := newSubscriber(t)
	sub.says = func(challenge string) string {
		s.put("phuong", "second") // its flag was raised, and lowered, before there was a subscription
		return challenge
	}
	s.wants("subscribe", sub.URL, s.topic("phuong", "rss"))
	loatest.Eventually(t, "the change is delivered", func() bool { return len(sub.bodies()) == 1 })
	sub.want(t, "second")
}

func TestOperatorsEndSubscriptions(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.put("phuong", "first")
	sub := newSubscriber(t)
	s.wants("subscribe", sub.URL, s.topic("phuong", "rss"))
	if err := s.subs.Deny(t.Context(), sub.URL, websub.Topic{Feed: "phuong", Format: "rss"}, "moved"); err != nil {
		t.Fatal(err)
	}
	s.settled()
	q := sub.questions()
	if last := q[len(q)-1]; last.Get("hub.mode") != "denied" || last.Get("hub.topic") != s.topic("phuong", "rss") || last.Get("hub.reason") != "moved" || last.Has("hub.challenge") {
		t.Errorf("told %v", last)
	}
	s.change("phuong", "second")
	s.settled()
	sub.want(t)
}

// counted counts how often documents are read.
type counted struct {
	hub.Objects
	reads *atomic.Int64
}

func (c counted) Get(ctx context.Context, key string, most int64) (objects.Object, error) {
	c.reads.Add(1)
	return c.Objects.Get(ctx, key, most)
}

// With -subscribers 10000 it is what a feed of a city may have.
func TestManySubscribersShareOneDocument(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
	var reads atomic.Int64
	s := start(t, func(o *options) {
		o.objects = func(objects hub.Objects) hub.Objects { return counted{objects, &reads} }
	})
	s.put("phuong", "first")
	var hosts []*subscriber
	for range 10 {
		hosts = append(hosts, newSubscriber(t))
	}
	topic := websub.Topic{Feed: "phuong", Format: "rss"}
	info, err := s.store.Stat(t.Context(), topic.Object())
	if err != nil {
		t.Fatal(err)
	}
	for i := range *subscribers {
		q := websub.Request{Mode: websub.ModeSubscribe, Callback: fmt.Sprintf("%s/%d", hosts[i%len(hosts)].URL, i), Topic: topic,
			Lease: time.Hour, Method: websub.SHA256, Seen: info.ETag}
		if _, err := s.subs.Activate(t.Context(), q, "127.0.0.1", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	s.settled()
	before := reads.Load()
	began := time.Now()
	s.change("phuong", "second")
	s.settled()
	took := time.Since(began)
	seen := map[string]int{}
	for _, sub := range hosts {
		for _, n := range sub.notifications() {
			seen[n.path]++
		}
	}
	if len(seen) != *subscribers {
		t.Errorf("%d subscribers were told, want %d", len(seen), *subscribers)
	}
	for path, n := range seen {
		if n != 1 {
			t.Errorf("%s was told %d times", path, n)
		}
	}
	if n := reads.Load() - before; n != 1 {
		t.Errorf("the document was read %d times", n)
	}
	t.Logf("%d subscribers in %s", *subscribers, took)
}
