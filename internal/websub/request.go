package websub

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/secret"
)

// Leases bound how long subscriptions last.
type Leases struct {
	// Default is for those that ask for none, Min and Max are for the others: a lease is enforced,
	// so it is what the callback is told, not what was asked (§5.1).
	Default, Min, Max time.Duration
}

// maxSecret is in bytes; a secret has to be shorter (§5.1).
const maxSecret = 200

// asked is a request as its parameters say it.
type asked struct {
	mode     string
	callback string
	topics   []string // one, but of a publisher
	lease    time.Duration
	secret   secret.Secret
	method   Method
}

// names of the parameters that mean something here. All others are ignored (§5.1).
const (
	paramMode      = "hub.mode"
	paramCallback  = "hub.callback"
	paramTopic     = "hub.topic"
	paramURL       = "hub.url" // a topic, as PubSubHubbub calls it to which publishers talk
	paramLease     = "hub.lease_seconds"
	paramSecret    = "hub.secret"
	paramSignature = "hub.signature"
)

// read takes a request from its parameters, or tells all that is wrong with them.
func read(form url.Values, l Leases) (asked, []string) {
	a := asked{mode: form.Get(paramMode)}
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, name := range []string{paramMode, paramCallback, paramTopic, paramLease, paramSecret, paramSignature} {
		if len(form[name]) > 1 && !(a.mode == ModePublish && name == paramTopic) {
			fault("%s: found %d of them, expected one", name, len(form[name]))
		}
	}
	switch a.mode {
	case ModePublish:
		a.topics = slices.Concat(form[paramTopic], form[paramURL])
		slices.Sort(a.topics)
		a.topics = slices.Compact(a.topics) // publishers send both parameters
		if len(a.topics) == 0 {
			fault("%s: missing, expected the address of a feed that changed", paramTopic)
		}
		return a, faults
	case ModeSubscribe:
	case ModeUnsubscribe:
	case "":
		fault("%s: missing, expected subscribe or unsubscribe", paramMode)
	default:
		fault("%s: found %q, expected subscribe or unsubscribe", paramMode, shown(a.mode))
	}
	a.topics = []string{form.Get(paramTopic)}
	a.callback = form.Get(paramCallback)
	switch u, err := outbound.CheckURL(a.callback, true); {
	case a.callback == "":
		fault("%s: missing, expected an http or https address", paramCallback)
	case err != nil:
		fault("%s: %v", paramCallback, err)
	case u.Fragment != "" || strings.Contains(a.callback, "#"):
		fault("%s: expected an address without a fragment", paramCallback)
	}
	if a.mode == ModeUnsubscribe {
		return a, faults // a lease and a secret mean nothing there
	}
	var ok bool
	if a.lease, ok = l.grant(form.Get(paramLease)); !ok {
		fault("%s: found %q, expected a number of seconds", paramLease, shown(form.Get(paramLease)))
	}
	if a.secret = secret.Secret(form.Get(paramSecret)); len(a.secret) >= maxSecret {
		fault("%s: found %d bytes, expected fewer than %d", paramSecret, len(a.secret), maxSecret)
	}
	a.method = Method(form.Get(paramSignature))
	if a.method != "" && hashes[a.method] == nil {
		fault("%s: found %q, expected one of %s, %s, %s", paramSignature, shown(string(a.method)), SHA256, SHA384, SHA512)
	}
	return a, faults
}

// grant gives the lease for what was asked: none, 0, or a number of seconds.
func (l Leases) grant(text string) (time.Duration, bool) {
	if strings.Trim(text, "0") == "" {
		return l.Default, true // 0 was once written for a lease without end; there are none
	}
	if strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds > int64(l.Max/time.Second) {
		return l.Max, true
	}
	return max(time.Duration(seconds)*time.Second, l.Min), true
}

// maxShown is how much of a wrong value an answer quotes, in bytes.
const maxShown = 64

func shown(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxShown)], "?") }
