package article

import (
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/idna"
)

// maxAddress is the longest address that is kept, in bytes: what RFC 9110 §4.1 asks every
// recipient to support.
const maxAddress = 8000

// ResolveLink gives the absolute http or https address that ref means on the page base, as a
// browser would read it, in ASCII (RFC 3986): a Vietnamese file name with spaces is
// percent-encoded, a host name goes to Punycode, a user name is dropped. It reports false when
// ref means nothing that can be fetched: another scheme, no host, no base to resolve it against.
func ResolveLink(base *url.URL, ref string) (string, bool) {
	u, ok := parseAddress(base, ref)
	if !ok || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	return addressString(u)
}

// resolveHref is [ResolveLink] for what a reader may follow: mail addresses and telephone
// numbers too.
func resolveHref(base *url.URL, ref string) (string, bool) {
	u, ok := parseAddress(base, ref)
	if !ok {
		return "", false
	}
	switch u.Scheme {
	case "http", "https":
	case "mailto", "tel":
		if u.Opaque == "" {
			return "", false
		}
	default:
		return "", false
	}
	return addressString(u)
}

var lineBreaks = strings.NewReplacer("\t", "", "\n", "", "\r", "")

func parseAddress(base *url.URL, ref string) (*url.URL, bool) {
	if len(ref) > maxAddress {
		return nil, false
	}
	// As the URL Standard does it before it looks for a scheme; "jav\tascript:" is one.
	ref = strings.TrimFunc(ref, func(r rune) bool { return r <= ' ' })
	ref = lineBreaks.Replace(ref)
	if ref == "" {
		return nil, false
	}
	u, err := url.Parse(escapeStrayPercent(strings.ToValidUTF8(ref, "\uFFFD")))
	if err != nil {
		return nil, false
	}
	if base != nil {
		u = base.ResolveReference(u)
	}
	return u, true
}

// escapeStrayPercent writes a "%" that begins no escape as "%25", so that "giảm 50%.jpg" is a
// file name.
func escapeStrayPercent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(s[i])
		if s[i] == '%' && (len(s) < i+3 || !isHex(s[i+1]) || !isHex(s[i+2])) {
			b.WriteString("25")
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// hostProfile is how browsers map host names (UTS 46), underscores allowed.
var hostProfile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

// hostPort is a host that needs no escaping: a name in ASCII or an IP address, and a port.
var hostPort = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// addressString writes u, of an allowed scheme, in ASCII.
func addressString(u *url.URL) (string, bool) {
	if u.Scheme == "http" || u.Scheme == "https" {
		u.User = nil // it serves to pass one host off as another
		if !hostPort.MatchString(u.Host) {
			host, err := hostProfile.ToASCII(u.Host)
			if err != nil {
				return "", false
			}
			u.Host = host
		}
		if u.Opaque != "" || !hostPort.MatchString(u.Host) {
			return "", false
		}
	}
	s := escapeAddress(u.String())
	return s, len(s) <= maxAddress
}

// escapeAddress percent-encodes what url.URL.String leaves raw in a query or an opaque part.
func escapeAddress(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7F || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// srcsetDescriptor is a width or a density (HTML, "srcset attributes").
var srcsetDescriptor = regexp.MustCompile(`^([0-9]{1,5}w|[0-9]{1,2}(\.[0-9]{1,3})?x)$`)

// resolveSrcset resolves each candidate of a srcset, and drops those that are not in order.
func resolveSrcset(set string, resolve func(string) (string, bool)) string {
	var out []string
	for {
		set = strings.TrimLeft(set, " \t\n\f\r,")
		if set == "" {
			return strings.Join(out, ", ")
		}
		end := strings.IndexAny(set, " \t\n\f\r")
		if end < 0 {
			end = len(set)
		}
		ref, descriptor := set[:end], ""
		set = set[end:]
		if bare := strings.TrimRight(ref, ","); bare != ref {
			ref = bare
		} else {
			descriptor, set, _ = strings.Cut(set, ",")
			descriptor = strings.TrimSpace(descriptor)
		}
		address, ok := resolve(ref)
		if !ok || descriptor != "" && !srcsetDescriptor.MatchString(descriptor) {
			continue
		}
		out = append(out, strings.TrimSpace(address+" "+descriptor))
	}
}
