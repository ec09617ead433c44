package portal

import (
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/cron"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/site"
)

const (
	maxTitle    = 200         // characters
	maxCriteria = 1000        // entries of each criterion of a filter
	maxWord     = 256         // characters; as events allow for ids and tags
	maxSecrets  = 4           // of each kind the new one, and the one that it replaces
	maxRate     = 1000        // bulletins a second; more is what 0 is for
	maxAllow    = 64          // prefixes
	maxHeaders  = 32          // as in any sensible request
	maxHeader   = 4 << 10     // bytes of one value; servers commonly take 8 KiB in all
	maxPEM      = 64 << 10    // bytes of a certificate with those that signed it, and of the roots
	minTimeout  = time.Second // what a portal across the country needs for a handshake
)

// languageForm is that of events.
var languageForm = regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$`)

var nameForm = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// Fault is one thing that is wrong with a portal's configuration.
type Fault struct {
	Field    string // as in configuration files, such as "filter.sites[0]"
	Value    string // what was found, fit to print; never a secret
	Expected string
}

func (f Fault) String() string {
	return fmt.Sprintf("%s: got %s, expected %s", f.Field, f.Value, f.Expected)
}

// InvalidError says that a portal's configuration cannot be used.
type InvalidError struct {
	Portal string
	Faults []Fault // all that were found
}

func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return fmt.Sprintf("portal %s: %s", show(e.Portal), strings.Join(lines, "; "))
}

// Validate returns an [*InvalidError] that names every fault. Zero values stand for their
// defaults; no secret at all is right, since one is made when the portal is stored. With a nil
// tree, sites are not looked up.
func (p Portal) Validate(tree *site.Tree) error {
	var fs faults
	fs.check(nameForm.MatchString(p.Name), "name", show(p.Name), `1 to 64 characters out of a-z, 0-9 and "-"`)
	fs.check(utf8.RuneCountInString(p.Title) <= maxTitle && printable(p.Title), "title", show(p.Title),
		fmt.Sprintf("at most %d printable characters", maxTitle))
	if _, err := outbound.CheckURL(p.URL, true); err != nil {
		rule := err.Error()
		var refused *outbound.RefusedError
		if errors.As(err, &refused) {
			rule = refused.Rule
		}
		fs.add("url", showURL(p.URL), "an address that can be called ("+rule+")")
	}
	p.Filter.validate(&fs, tree)
	p.validateSecrets(&fs)

	p = p.withDefaults()
	fs.check(p.InFlight >= 1 && p.InFlight <= MaxInFlight, "in_flight", strconv.Itoa(p.InFlight),
		fmt.Sprintf("1 to %d bulletins", MaxInFlight))
	fs.check(p.Rate >= 0 && p.Rate <= maxRate, "rate", fmt.Sprint(p.Rate),
		fmt.Sprintf("0 (unlimited) to %d bulletins a second", maxRate))
	fs.check(p.Timeout >= minTimeout && p.Timeout <= MaxTimeout, "timeout", p.Timeout.String(),
		fmt.Sprintf("%s to %s", minTimeout, MaxTimeout))
	fs.check(len(p.Allow) <= maxAllow, "allow", fmt.Sprintf("%d prefixes", len(p.Allow)), fmt.Sprintf("at most %d", maxAllow))
	for i, prefix := range p.Allow {
		fs.check(prefix.IsValid(), fmt.Sprintf("allow[%d]", i), show(prefix.String()), "a prefix such as 10.20.0.0/16")
	}
	p.validateHeaders(&fs)
	p.validateTLS(&fs)
	fs.check(slices.Contains(Formats(), p.Format), "format", show(p.Format), "one of "+strings.Join(Formats(), ", "))
	fs.check(slices.Contains(Contents(), p.Content), "content", show(p.Content), "one of "+strings.Join(Contents(), ", "))
	fs.check(p.Content == ContentSummary || p.Format == FormatBulletin, "content", show(p.Content),
		"none for the format "+p.Format+", which is always whole")
	p.validateDigest(&fs)
	if len(fs) == 0 {
		return nil
	}
	return &InvalidError{Portal: p.Name, Faults: fs}
}

// IsLanguage reports whether s has the form of a language's tag (BCP 47).
func IsLanguage(s string) bool { return languageForm.MatchString(s) }

func (f Filter) validate(fs *faults, tree *site.Tree) {
	for _, criterion := range []struct {
		field string
		words []string
	}{
		{"filter.sites", f.Sites}, {"filter.categories", f.Categories}, {"filter.tags", f.Tags}, {"filter.languages", f.Languages},
		{"filter.not.sites", f.Not.Sites}, {"filter.not.categories", f.Not.Categories}, {"filter.not.tags", f.Not.Tags},
		{"filter.not.languages", f.Not.Languages},
	} {
		fs.check(len(criterion.words) <= maxCriteria, criterion.field, fmt.Sprintf("%d entries", len(criterion.words)),
			fmt.Sprintf("at most %d", maxCriteria))
		for i, w := range criterion.words {
			fs.check(w != "" && utf8.RuneCountInString(w) <= maxWord && printable(w),
				fmt.Sprintf("%s[%d]", criterion.field, i), show(w), fmt.Sprintf("1 to %d printable characters", maxWord))
			switch {
			case strings.HasSuffix(criterion.field, ".languages"):
				fs.check(IsLanguage(w), fmt.Sprintf("%s[%d]", criterion.field, i), show(w), "a language's tag such as vi or en-GB (BCP 47)")
			case strings.HasSuffix(criterion.field, ".sites") && tree != nil:
				_, known := tree.Get(w)
				fs.check(known, fmt.Sprintf("%s[%d]", criterion.field, i), show(w), "one of the sites: "+someOf(tree.Names()))
			}
		}
	}
	fs.check(f.Urgency >= 0 && f.Urgency <= 8, "filter.urgency", strconv.Itoa(f.Urgency), "1 (the most urgent) to 8, or 0 for any")
}

func (p Portal) validateSecrets(fs *faults) {
	fs.check(len(p.Secrets) <= maxSecrets, "secrets", fmt.Sprintf("%d secrets", len(p.Secrets)),
		fmt.Sprintf("at most %d: of each kind the new one and the one it replaces", maxSecrets))
	for i, s := range p.Secrets {
		field := fmt.Sprintf("secrets[%d]", i)
		if events.CheckSecret(s.Reveal()) != nil {
			fs.add(field, secret.Hidden, "whsec_ and the base64 of 24 to 64 random bytes, or whsk_ and that of an ed25519 key")
		}
		fs.check(!slices.Contains(p.Secrets[:i], s), field, "an earlier one again", "another secret")
	}
}

func (p Portal) validateDigest(fs *faults) {
	if p.Digest == nil {
		return
	}
	fs.check(p.Format == FormatBulletin && p.Content == ContentSummary, "digest", "one of format "+p.Format+", content "+p.Content,
		"none, or format "+FormatBulletin+" and content "+ContentSummary+": a digest holds summaries")
	if _, err := cron.Zone(p.Digest.Zone); err != nil {
		fs.add("digest.zone", show(p.Digest.Zone), "a time zone such as Asia/Ho_Chi_Minh")
	} else if _, err := cron.Parse(p.Digest.At, p.Digest.Zone); err != nil {
		fs.add("digest.at", show(p.Digest.At)+" ("+err.Error()+")",
			"six fields (second, minute, hour, day of the month, month, day of the week) such as 0 0 7,16 * * *")
	}
	fs.check(p.Digest.Most >= 1 && p.Digest.Most <= MaxDigest, "digest.most", strconv.Itoa(p.Digest.Most),
		fmt.Sprintf("1 to %d articles", MaxDigest))
}

func (p Portal) validateTLS(fs *faults) {
	if p.Certificate != nil {
		size := len(p.Certificate.Chain) + len(p.Certificate.Key)
		fs.check(size <= maxPEM, "client_certificate", fmt.Sprintf("%d bytes", size), fmt.Sprintf("at most %d", maxPEM))
		if _, err := p.Certificate.pair(); err != nil {
			fs.add("client_certificate", "a pair that cannot be used ("+err.Error()+")", "a certificate and its key, both as PEM")
		}
	}
	fs.check(len(p.CA) <= maxPEM, "ca", fmt.Sprintf("%d bytes", len(p.CA)), fmt.Sprintf("at most %d", maxPEM))
	fs.check(p.CA == "" || x509.NewCertPool().AppendCertsFromPEM([]byte(p.CA)), "ca", fmt.Sprintf("%d bytes", len(p.CA)),
		"one certificate or several as PEM")
}

// reserved headers are made by Loa or by HTTP itself.
var reserved = map[string]bool{
	"host": true, "content-length": true, "content-type": true, "content-encoding": true, "transfer-encoding": true,
	"connection": true, "keep-alive": true, "proxy-connection": true, "te": true, "trailer": true, "upgrade": true, "expect": true,
}

func (p Portal) validateHeaders(fs *faults) {
	fs.check(len(p.Headers) <= maxHeaders, "headers", fmt.Sprintf("%d headers", len(p.Headers)), fmt.Sprintf("at most %d", maxHeaders))
	for name, value := range p.Headers {
		field := "headers." + printableOnly(name)
		lower := strings.ToLower(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			fs.add(field, show(name), "the name of a header (RFC 9110 §5.1)")
		case strings.HasPrefix(lower, "webhook-") || reserved[lower]:
			fs.add(field, show(name), "a header that Loa does not set itself")
		}
		v := value.Reveal()
		fs.check(len(v) <= maxHeader && httpguts.ValidHeaderFieldValue(v), field, fmt.Sprintf("%d bytes", len(v)),
			fmt.Sprintf("at most %d bytes without line breaks or other control characters", maxHeader))
	}
}

// faults collects what is wrong: one fault a field, the first.
type faults []Fault

func (fs *faults) check(ok bool, field, value, expected string) {
	if !ok {
		fs.add(field, value, expected)
	}
}

func (fs *faults) add(field, value, expected string) {
	for _, f := range *fs {
		if f.Field == field {
			return
		}
	}
	*fs = append(*fs, Fault{field, value, expected})
}

// shownRunes is the length to which a value in a message is cut.
const shownRunes = 80

func show(s string) string {
	if utf8.RuneCountInString(s) > shownRunes {
		s = string([]rune(s)[:shownRunes]) + "…"
	}
	return strconv.Quote(s)
}

// showURL leaves out what may be secret in an address: user and password, and the query.
func showURL(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if i := strings.LastIndexByte(rest, '@'); i >= 0 {
			s = scheme + "://***@" + rest[i+1:]
		}
	}
	if before, _, ok := strings.Cut(s, "?"); ok {
		s = before + "?***"
	}
	return show(s)
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func printableOnly(s string) string {
	return strings.Trim(show(s), `"`)
}

// shownNames is how many names a message lists.
const shownNames = 20

func someOf(names []string) string {
	if len(names) <= shownNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(names[:shownNames], ", "), len(names)-shownNames)
}
