package intake

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/net/html"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

// describe warns of an article's pictures that say nothing to those who do not see them: with a
// dead letter that stands for one version, the newest. It refuses nothing.
func (in *Intake) describe(ctx context.Context, key streams.Key, ev events.Event, m jetstream.Msg) error {
	var silent []string
	if ev.Article != nil {
		silent = undescribed(ev.Article)
	}
	version := fmt.Sprint(ev.Version())
	warned := false
	for l, err := range in.dead.List(ctx, streams.Warnings, string(key)) {
		if err != nil {
			return err
		}
		if l.Version == version && len(silent) > 0 {
			warned = true
		} else if err := in.dead.Drop(ctx, l.Seq); err != nil {
			return err
		}
	}
	if warned || len(silent) == 0 {
		return nil
	}
	l := letter(m, ev, &refusal{reason: fmt.Sprintf("%d images have no alternative text", len(silent)), faults: silent})
	err := in.dead.Warn(ctx, l)
	if errors.Is(err, streams.ErrNoRoom) { // no article waits for what is only a warning
		in.opts.Log.Warn().Err(err).Str("article", string(key)).Strs("images", silent).Msg("not warned of images without alternative text")
		return nil
	}
	return err
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
