package websub

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

var leases = Leases{Default: 240 * time.Hour, Min: 5 * time.Minute, Max: 720 * time.Hour}

func TestRequestsAreReadOrTellWhatIsWrong(t *testing.T) {
	t.Parallel()
	const topic = "https://loa.example/feeds/phuong/feed.atom"
	for name, c := range map[string]struct {
		form string // beside or instead of what a right request has
		want string // a fault, or nothing
	}{
		"typical":                {"", ""},
		"unknown parameters":     {"foo=bar&hub.foo=hub.bar&hub.verify=async&hub.verify=sync", ""},
		"no mode":                {"hub.mode=", "hub.mode: missing"},
		"unknown mode":           {"hub.mode=destroy", `hub.mode: found "destroy"`},
		"the hub's own mode":     {"hub.mode=denied", `hub.mode: found "denied"`},
		"two callbacks":          {"hub.callback=https://a.example&hub.callback=https://b.example", "hub.callback: found 2"},
		"no callback":            {"hub.callback=", "hub.callback: missing"},
		"callback is a file":     {"hub.callback=file:///etc/passwd", "hub.callback: address"},
		"callback with password": {"hub.callback=https://u:p@a.example/", "hub.callback: address"},
		"callback in disguise":   {"hub.callback=http://2130706433/", "hub.callback: address"},
		"callback of a service":  {"hub.callback=http://a.example:25/", "hub.callback: address"},
		"callback with fragment": {"hub.callback=https://a.example/%23x", "without a fragment"},
		"empty fragment":         {"hub.callback=https://a.example/%23", "without a fragment"},
		"callback is long":       {"hub.callback=https://a.example/" + strings.Repeat("x", 2048), "hub.callback: address"},
		"lease is a word":        {"hub.lease_seconds=long", `hub.lease_seconds: found "long"`},
		"lease is negative":      {"hub.lease_seconds=-1", `hub.lease_seconds: found "-1"`},
		"secret of 199 bytes":    {"hub.secret=" + strings.Repeat("x", 199), ""},
		"secret of 200 bytes":    {"hub.secret=" + strings.Repeat("x", 200), "hub.secret: found 200 bytes, expected fewer than 200"},
		"secret of 100 letters":  {"hub.secret=" + strings.Repeat("ư", 100), "hub.secret: found 200 bytes"},
		"unknown signature":      {"hub.signature=md5", `hub.signature: found "md5"`},
		"publish nothing":        {"hub.mode=publish&hub.topic=", ""},
		"unsubscribe":            {"hub.mode=unsubscribe&hub.lease_seconds=never&hub.secret=" + strings.Repeat("x", 300), ""},
	} {
		t.Run(name, func(t *testing.T) {
			form := url.Values{"hub.mode": {"subscribe"}, "hub.callback": {"https://reader.example/cb?key=1"}, "hub.topic": {topic}}
			changes, err := url.ParseQuery(c.form)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range changes {
				form[k] = v
			}
			_, faults := read(form, leases)
			if all := strings.Join(faults, "\n"); c.want == "" && all != "" || !strings.Contains(all, c.want) {
				t.Errorf("faults %q, want %q", all, c.want)
			}
		})
	}
}

func TestLeasesAreBounded(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]time.Duration{
		"": leases.Default, "0": leases.Default, "1": leases.Min, "300": leases.Min, "3600": time.Hour, "0003600": time.Hour,
		"1000000000": leases.Max, "99999999999999999999999": leases.Max,
	} {
		if got, ok := leases.grant(asked); !ok || got != want {
			t.Errorf("%q: %s, want %s", asked, got, want)
		}
	}
}

func TestTopicsAreCanonicalAddressesAndNothingElse(t *testing.T) {
	t.Parallel()
	topics := TopicsOf("https://loa.example/tin/")
	for _, format := range Formats {
		want := Topic{"phuong-cau-go--in--y-te", format}
		if got, ok := topics.Parse(topics.Address(want)); !ok || got != want {
			t.Errorf("%s: %v", topics.Address(want), got)
		}
	}
	for _, address := range []string{
		"", "https://elsewhere.example/tin/feeds/phuong/feed.rss", "http://loa.example/tin/feeds/phuong/feed.rss",
		"https://LOA.example/tin/feeds/phuong/feed.rss", "https://loa.example:443/tin/feeds/phuong/feed.rss",
		"https://loa.example/feeds/phuong/feed.rss", "https://loa.example/tin//feeds/phuong/feed.rss",
		"https://loa.example/tin/feeds/phuong/feed.rss?x", "https://loa.example/tin/feeds/phuong/feed.rss#x",
		"https://loa.example/tin/feeds/phuong/feed.html", "https://loa.example/tin/feeds/phuong/archive/2026-01.atom",
		"https://loa.example/tin/feeds/../feeds/phuong/feed.rss", "https://loa.example/tin/feeds/ph%75ong/feed.rss",
		"https://loa.example/tin/feeds/phuong/feed.rss\n", "https://loa.example/tin/feeds/a.b/feed.rss", "https://loa.example/tin/hub",
	} {
		if got, ok := topics.Parse(address); ok {
			t.Errorf("%q is taken for %v", address, got)
		}
	}
}

func TestHostsAreTokensThatPeopleKnow(t *testing.T) {
	t.Parallel()
	for callback, want := range map[string]string{
		"https://reader.example/x":            "deliver-reader_example",
		"https://READER.example/y?k=v":        "deliver-reader_example",
		"https://reader.example:8443/":        "deliver-reader_example__8443",
		"http://[2001:db8::1]:8080/":          "deliver-h--",
		"https://a_b.example/":                "deliver-h--",
		"https://" + strings.Repeat("a.", 40): "deliver-h--",
	} {
		f := DeliverFlag(callback, NewID(callback, Topic{"phuong", "rss"}), 1)
		if !strings.HasPrefix(f.Target, want) || len(f.Target) > 64 || strings.ContainsAny(f.Target, ".: ") {
			t.Errorf("%s: %q, want %q", callback, f.Target, want)
		}
	}
}

func TestNobodyAsksForOthersToo(t *testing.T) {
	t.Parallel()
	a := askers{of: map[string]*rate.Limiter{}}
	now := time.Now()
	count := func(who string) (n int) {
		for n < 2*requestsAtOnce && a.allow(who, now) {
			n++
		}
		return n
	}
	if n := count("192.0.2.1"); n != requestsAtOnce {
		t.Errorf("%d requests at once, want %d", n, requestsAtOnce)
	}
	if count("192.0.2.2") == 0 {
		t.Error("somebody else's requests count")
	}
	if now = now.Add(time.Second); count("192.0.2.1") != requestsPerSecond {
		t.Error("a second later nothing may be asked")
	}
	for i := range maxAskers + 10 {
		a.allow(strconv.Itoa(i), now)
	}
	if len(a.of) > maxAskers {
		t.Errorf("%d addresses are remembered", len(a.of))
	}
}

func FuzzRead(f *testing.F) {
	f.Add("hub.mode=subscribe&hub.callback=https://reader.example/&hub.topic=https://loa.example/feeds/a/feed.rss&hub.secret=x&hub.lease_seconds=1")
	f.Add("hub.mode=publish&hub.url=a&hub.url=b")
	topics := TopicsOf("https://loa.example/")
	f.Fuzz(func(t *testing.T, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		a, faults := read(form, leases)
		if len(faults) > 0 || a.mode == ModePublish {
			return
		}
		if a.mode == ModeSubscribe && (a.lease < leases.Min || a.lease > leases.Max || len(a.secret) >= maxSecret) {
			t.Fatalf("lease %s, secret of %d bytes", a.lease, len(a.secret))
		}
		topic, ok := topics.Parse(a.topics[0])
		if !ok {
			return
		}
		if id := NewID(a.callback, topic); strings.ContainsAny(string(id), " *>/\r\n") || strings.Count(string(id), ".") != 2 {
			t.Fatalf("id %q", id)
		}
		if target := VerifyFlag(a.callback, "x").Target; strings.ContainsAny(target, " .*>\r\n") || len(target) > 64 {
			t.Fatalf("target %q", target)
		}
	})
}
