// Package origin tells where an HTTP request comes from, for those who count requests.
package origin

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// v6Prefix is the part of an IPv6 address that one subscriber has.
const v6Prefix = 64

// Address is where a request comes from: an IPv4 address, or the network of an IPv6 one. Of what
// X-Forwarded-For says, only what proxies that are known to be ours have added is believed.
func Address(r *http.Request, proxies []netip.Prefix) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr := at.Addr().Unmap().WithZone("")
	isProxy := func() bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && isProxy(); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop.Unmap().WithZone("")
	}
	if addr.Is6() {
		if network, err := addr.Prefix(v6Prefix); err == nil {
			return network.String()
		}
	}
	return addr.String()
}
