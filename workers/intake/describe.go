package intake

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/net/html"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

// describe warns of the pictures in a version that an event made which say nothing to those who do
// not see them, and of those and attachments that will never come: with a dead letter that stands
// for one version, the newest. It refuses nothing. cur is the version before, or the same.
func (in *Intake) describe(ctx context.Context, cur *article.Article, made streams.Entry, ev events.Event, m jetstream.Msg) error {
	var silent, refused []string
	if ev.Article != nil && made.Live() {
		silent, refused = undescribed(ev.Article), refusedIn(made.Article)
	}
	wrong := len(silent)+len(refused) > 0
	if !wrong && (cur == nil || len(cur.Images)+len(cur.Attachments) == 0) {
		return nil // nor was there anything to warn of
	}
	version := fmt.Sprint(ev.Version())
	warned := false
	for l, err := range in.dead.List(ctx, streams.Warnings, string(made.Key)) {
		if err != nil {
			return err
		}
		if l.Version == version && wrong {
			warned = true
		} else if err := in.dead.Drop(ctx, l.Seq); err != nil && !errors.Is(err, streams.ErrNoDeadLetter) {
			return err
		}
	}
	if warned || !wrong {
		return nil
	}
	var reasons []string
	if len(silent) > 0 {
		reasons = append(reasons, fmt.Sprintf("%d images have no alternative text", len(silent)))
	}
	if len(refused) > 0 {
		reasons = append(reasons, withoutThem(refused))
	}
	l := letter(m, ev, &refusal{reason: strings.Join(reasons, "; "), faults: append(silent, refused...)})
	return in.warn(ctx, made.Key, l, len(refused) > 0)
}

// warn stores a warning. With again, a person who retries it has what was refused tried once more.
func (in *Intake) warn(ctx context.Context, key streams.Key, l streams.DeadLetter, again bool) error {
	l.Subject, l.Header, l.Data, l.Origin = "", nil, nil, 0 // not the event
	if again {
		l.Subject, l.Header = streams.DueSubject(streams.Pictures, key), nats.Header{refusedToo: {"yes"}}
	}
	err := in.dead.Warn(ctx, l)
	if errors.Is(err, streams.ErrNoRoom) { // no article waits for what is only a warning
		in.opts.Log.Warn().Err(err).Str("article", string(key)).Strs("faults", l.Faults).Msg(l.Reason)
		return nil
	}
	return err
}

// withoutThem is why a person is told of pictures and attachments that were refused.
func withoutThem(refused []string) string {
	return fmt.Sprintf("the article goes without %d pictures or attachments", len(refused))
}

// refusedIn names the pictures and attachments of an article which will never come, and why.
func refusedIn(a *article.Article) (faults []string) {
	for _, img := range a.Images {
		if !img.Stored() && !img.Pending {
			faults = append(faults, clip(name(img.Image))+": "+img.Fault)
		}
	}
	for _, at := range a.Attachments {
		if at.Fault != "" && !at.Pending {
			faults = append(faults, clip(at.URL)+": "+at.Fault)
		}
	}
	return faults
}

// undescribed names the pictures that have no alternative text: neither in the list of images
// nor where the body shows them. An empty alt in the body says that a picture only adorns.
func undescribed(s *events.Article) (names []string) {
	described := map[string]bool{} // by address; false: shown without any alt
	base, err := url.Parse(s.URL)
	if err != nil {
		return nil
	}
	var shown []string // in the body, in its order
	for z := html.NewTokenizer(strings.NewReader(s.Body)); z.Next() != html.ErrorToken; {
		t := z.Token()
		if t.Data != "img" || t.Type != html.StartTagToken && t.Type != html.SelfClosingTagToken {
			continue
		}
		address, alt := shownImage(t, base)
		if address == "" {
			continue
		}
		if _, known := described[address]; !known {
			shown = append(shown, address)
		}
		described[address] = described[address] || alt
	}
	listed := map[string]bool{}
	for i, img := range s.Images {
		address := "cid:" + img.ContentID
		if img.URL != "" {
			address = img.URL
			if abs, ok := article.ResolveLink(base, img.URL); ok {
				address = abs
			}
		}
		listed[address] = true
		if strings.TrimSpace(img.Alt) == "" && !described[address] {
			names = append(names, fmt.Sprintf("/data/images/%d/alt: %s", i, clip(address)))
		}
	}
	for _, address := range shown {
		if !listed[address] && !described[address] {
			names = append(names, "/data/body: "+clip(address))
		}
	}
	return names
}

// shownImage is what an img element shows, and whether it has an alt, be it empty.
func shownImage(t html.Token, base *url.URL) (address string, alt bool) {
	for _, a := range t.Attr {
		switch a.Key {
		case "alt":
			alt = true
		case "src", "data-src", "data-original":
			ref := strings.TrimSpace(a.Val)
			abs, ok := article.ResolveLink(base, ref)
			if strings.HasPrefix(strings.ToLower(ref), "cid:") {
				abs, ok = "cid:"+ref[len("cid:"):], true
			}
			if ok && (address == "" || a.Key != "src") { // late loaders hold a blank in src
				address = abs
			}
		}
	}
	return address, alt
}

// addressMax is in bytes: enough to know a picture by.
const addressMax = 200

func clip(address string) string {
	if len(address) > addressMax {
		return strings.ToValidUTF8(address[:addressMax], "") + "…"
	}
	return address
}
