package origin_test

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/loa-syndication/loa/internal/origin"
)

func TestOnlyOurProxiesAreBelieved(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.20.0.0/16")}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:1000", "", "192.0.2.1"},
		{"192.0.2.1:1000", "198.51.100.7", "192.0.2.1"}, // it says so itself
		{"[::ffff:192.0.2.1]:1000", "", "192.0.2.1"},
		{"[2001:db8::1]:1000", "", "2001:db8::/64"},
		{"127.0.0.1:1000", "198.51.100.7", "198.51.100.7"},
		{"127.0.0.1:1000", "203.0.113.9, 198.51.100.7", "198.51.100.7"},
		{"127.0.0.1:1000", "203.0.113.9, 198.51.100.7, 10.20.0.5", "198.51.100.7"},
		{"127.0.0.1:1000", "nonsense", "127.0.0.1"},
		{"127.0.0.1:1000", "", "127.0.0.1"},
		{"@", "", "@"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": {c.forwarded}}}
		if got := origin.Address(r, proxies); got != c.want {
			t.Errorf("from %s for %q: %s, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
}
