package outbound

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const (
	// maxURL is in bytes; what browsers and servers commonly take.
	maxURL = 2048
	// firstFreePort is the first that is not reserved for system services (RFC 6335 §6).
	// Below it only 80 and 443 are served by HTTP; the others are mail, SSH and the like.
	firstFreePort = 1024
)

// CheckURL parses an address that others chose, and refuses, with a [*RefusedError], what no
// client of this package would call: anything but absolute http (if allowHTTP) and https URLs
// with a host, without user or password, on port 80, 443 or from 1024, at most 2,048 bytes
// long; also hosts that are numbers in disguise (127.1, 0x7f.1, 2130706433). Whether a proper
// host's address is private is seen when it is dialled.
func CheckURL(raw string, allowHTTP bool) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, &RefusedError{Address: shown(raw),
			Rule: "URL of " + strconv.Itoa(len(raw)) + " bytes; at most " + strconv.Itoa(maxURL)}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, &RefusedError{Address: shown(raw), Rule: "not a URL"} // the cause may quote a password
	}
	if err := checkURL(u, allowHTTP); err != nil {
		return nil, err
	}
	return u, nil
}

// shown is what an error tells of a URL that cannot be parsed: its start, without what may be
// a password.
func shown(raw string) string {
	if _, after, ok := strings.Cut(raw, "@"); ok {
		raw = after
	}
	if len(raw) > 64 {
		raw = raw[:64] + "..."
	}
	return strings.ToValidUTF8(raw, "?")
}

func checkURL(u *url.URL, allowHTTP bool) error {
	rule := ""
	switch host := u.Hostname(); {
	case u.Scheme == "" || u.Opaque != "":
		rule = "not an absolute URL"
	case u.Scheme == "http" && !allowHTTP:
		rule = "https required"
	case u.Scheme != "http" && u.Scheme != "https":
		rule = "scheme " + u.Scheme + "; http or https required"
	case host == "":
		rule = "no host"
	case u.User != nil:
		rule = "user name or password in URL"
	case !portAllowed(u):
		rule = "port " + u.Port() + "; 80, 443 or at least " + strconv.Itoa(firstFreePort) + " required"
	case numberInDisguise(host):
		rule = "host is an IPv4 address in an unusual form"
	}
	if rule == "" {
		return nil
	}
	return &RefusedError{Address: u.Redacted(), Rule: rule}
}

func portAllowed(u *url.URL) bool {
	s := u.Port()
	if s == "" {
		return !strings.HasSuffix(u.Host, ":") // "host:" has a port, which is empty
	}
	port, err := strconv.ParseUint(s, 10, 16)
	return err == nil && (port == 80 || port == 443 || port >= firstFreePort)
}

// numberInDisguise reports whether host is one that inet_aton, and so some resolvers, read as
// an IPv4 address, but that is not written as one: its last label is a number (the "ends in a
// number" of the WHATWG URL standard).
func numberInDisguise(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	labels := strings.Split(strings.TrimRight(host, "."), ".")
	last := strings.ToLower(labels[len(labels)-1])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}
