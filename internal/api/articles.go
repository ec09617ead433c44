package api

import (
	"bytes"
	"context"
	_ "embed" // the fragment's template
	"errors"
	"html/template"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/listing"
	"github.com/loa-syndication/loa/internal/ninjs"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// pageBytes is from which size, in bytes, on a page takes no more articles.
	pageBytes = 4 << 20
	// readAtOnce is how many articles of a page are read from the log together: at a megabyte each,
	// which few have, 25 MiB.
	readAtOnce = 25
	// Caches: what changed is to be seen soon.
	listCaching    = "max-age=5"
	articleCaching = "max-age=30"
)

// Media types of an article.
const (
	typeJSON  = "application/json"
	typeNinjs = "application/vnd.iptc.ninjs+json"
	typeHTML  = "text/html"
)

type listInput struct {
	Site     string    `query:"site" maxLength:"64" doc:"Only articles of this site."`
	Subtree  string    `query:"subtree" maxLength:"64" doc:"Only articles of this site and of those under it."`
	Category string    `query:"category" maxLength:"64" doc:"Only articles of the category with this id."`
	Tag      string    `query:"tag" maxLength:"200" doc:"Only articles with this tag, in Unicode's NFC."`
	Language string    `query:"language" maxLength:"35" doc:"Only articles in this language, as articles have it: vi, en."`
	Urgency  int       `query:"urgency" minimum:"1" maximum:"8" doc:"Only articles at least as urgent as this: 1 is the most urgent."`
	Since    time.Time `query:"since" doc:"Only articles published at this time or later."`
	Until    time.Time `query:"until" doc:"Only articles published before this time."`
	Status   string    `query:"status" enum:"live,withdrawn,all" default:"live" doc:"Which articles: those that may be shown, those that were withdrawn, or all."`
	Limit    int       `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"How many articles a page has at most. A page may have fewer: it is the last when there is no next."`
	Cursor   string    `query:"cursor" maxLength:"512" doc:"The next of the page before."`
	Fields   string    `query:"fields" maxLength:"500" doc:"Which members of each article, with commas between; all for everything. Without it, everything but the body."`
}

type listOutput struct {
	CacheControl string `header:"Cache-Control"`
	Link         string `header:"Link" doc:"The next page, as rel=next."`
	Body         struct {
		Articles []item `json:"articles" doc:"The latest published first."`
		Next     string `json:"next,omitempty" doc:"The cursor of the next page, if there is one."`
	}
}

func (a *API) registerArticles() {
	huma.Register(a.huma, operation("list-articles", "/v1/articles", "List articles",
		"Page by page, the latest published first. Following next to the end gives every article once, whatever is edited, published or withdrawn meanwhile. To keep a copy, follow /v1/changes instead."),
		a.list)
	one := operation("get-article", "/v1/articles/{site}/{id}", "Read an article",
		"As JSON, as ninjs 3.1 or as a fragment of HTML, by Accept or format. A withdrawn article is answered with 410 and what is left of it: who has a copy must remove it.")
	one.Responses = map[string]*huma.Response{
		"200": {Description: "The article", Content: a.representations()},
		"410": {Description: "The article was withdrawn", Content: a.representations()},
	}
	huma.Register(a.huma, one, a.get)
	huma.Register(a.huma, operation("list-versions", "/v1/articles/{site}/{id}/versions", "List an article's versions",
		"The current one, and those before it, the newest first, as far as they are kept: for 30 days, as a rule. Of what was withdrawn nothing is listed. One is read with ?version= at the article's address, without pictures."),
		a.versions)
}

// representations describes an article's media types.
func (a *API) representations() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{
		typeJSON:  {Schema: item{}.Schema(a.huma.OpenAPI().Components.Schemas)},
		typeNinjs: {Schema: &huma.Schema{Type: huma.TypeObject, Description: "An object of IPTC's ninjs 3.1"}},
		typeHTML:  {Schema: &huma.Schema{Type: huma.TypeString, Description: "One article element"}},
	}
}

// query makes what the index is asked of the input.
func (a *API) query(who caller, in *listInput) (q listing.Query, err error) {
	if q.Sites, err = a.sitesOf(who, in.Site, in.Subtree); err != nil {
		return q, err
	}
	if !in.Since.IsZero() && !in.Until.IsZero() && !in.Since.Before(in.Until) {
		return q, invalid("query.until", in.Until.Format(time.RFC3339), "expected a time after since")
	}
	q.Category, q.Tag, q.Language, q.Urgency, q.Since, q.Until = in.Category, in.Tag, in.Language, in.Urgency, in.Since, in.Until
	if in.Status != "all" {
		q.Status = in.Status
	}
	return q, nil
}

func (a *API) list(ctx context.Context, in *listInput) (*listOutput, error) {
	who := callerOf(ctx)
	q, err := a.query(who, in)
	if err != nil {
		return nil, err
	}
	fields, err := parseFields(in.Fields)
	if err != nil {
		return nil, err
	}
	at, err := parseListCursor(in.Cursor, q)
	if err != nil {
		return nil, err
	}
	hits, next, more, err := a.o.Index.List(q, at, in.Limit)
	if err != nil {
		return nil, a.fault(ctx, "list of articles", err)
	}
	out := &listOutput{CacheControl: who.caching(listCaching)}
	out.Body.Articles = []item{}
	size := 0
	for i, e := range a.read(ctx, hits, &err) {
		if e.Article == nil || !who.covers(e.Site) || !q.Matches(e.Article) {
			continue // it changed since the index was asked
		}
		one, err := a.item(who, e.Article, fields, false)
		if err != nil {
			return nil, a.fault(ctx, "list of articles", err)
		}
		out.Body.Articles = append(out.Body.Articles, one)
		if size += len(one); size >= pageBytes && i < len(hits)-1 {
			next.Published, next.Key, more = hits[i].Published, hits[i].Key, true
			break
		}
	}
	if err != nil {
		return nil, a.fault(ctx, "list of articles", err)
	}
	if more {
		out.Body.Next = listCursor(next, q)
		out.Link = "<" + a.o.PublicURL + "v1/articles?" + in.values(out.Body.Next).Encode() + `>; rel="next"`
	}
	return out, nil
}

// values are the parameters of the page at a cursor.
func (in *listInput) values(cursor string) url.Values {
	v := url.Values{"cursor": {cursor}}
	for name, value := range map[string]string{"site": in.Site, "subtree": in.Subtree, "category": in.Category, "tag": in.Tag, "language": in.Language, "fields": in.Fields} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, t := range map[string]time.Time{"since": in.Since, "until": in.Until} {
		if !t.IsZero() {
			v.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	if in.Urgency > 0 {
		v.Set("urgency", strconv.Itoa(in.Urgency))
	}
	v.Set("status", in.Status)
	v.Set("limit", strconv.Itoa(in.Limit))
	return v
}

// read reads what the index found, in its order. An article that is gone again is nil. It ends early
// at an error, which it leaves in fault.
func (a *API) read(ctx context.Context, hits []listing.Hit, fault *error) iter.Seq2[int, streams.Entry] {
	return func(yield func(int, streams.Entry) bool) {
		for from := 0; from < len(hits); from += readAtOnce {
			part := hits[from:min(from+readAtOnce, len(hits))]
			keys := make([]streams.Key, len(part))
			for i, h := range part {
				keys[i] = h.Key
			}
			found, err := a.o.Articles.GetMany(ctx, keys)
			if err != nil {
				*fault = err
				return
			}
			for i, h := range part {
				e := found[h.Key]
				if e.Seq < h.Seq { // of a replica that lags
					e, err = a.o.Articles.Get(ctx, h.Key, h.Seq)
					if err != nil && !errors.Is(err, streams.ErrNotFound) {
						*fault = err
						return
					}
				}
				if !yield(from+i, e) {
					return
				}
			}
		}
	}
}

// caching says who may keep an answer for that long: what a key opens, its bearer alone.
func (c caller) caching(age string) string {
	if c.key != "" {
		return "private, " + age
	}
	return "public, " + age
}

type getInput struct {
	Site    string `path:"site" maxLength:"64" doc:"The site's id."`
	ID      string `path:"id" maxLength:"1024" doc:"The article's id at its site."`
	Version int64  `query:"version" minimum:"1" doc:"A former version, by its number, as long as it is kept."`
	Format  string `query:"format" enum:"json,ninjs,html" doc:"The format, whatever Accept says."`
	Fields  string `query:"fields" maxLength:"500" doc:"Which members of the article, with commas between; of JSON only. Without it, everything."`
	Accept  string `header:"Accept" doc:"application/json, application/vnd.iptc.ninjs+json or text/html."`
}

type getOutput struct {
	Status       int
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	Policy       string `header:"Content-Security-Policy"`
	Vary         string `header:"Vary"`
	Link         string `header:"Link" doc:"The article's page, as rel=canonical; its oEmbed."`
	Body         []byte
}

// find reads an article as it is now. That there is none, and that it is not for the caller, are one.
func (a *API) find(ctx context.Context, site, id string) (streams.Entry, error) {
	none := huma.Error404NotFound("There is no such article.")
	if !callerOf(ctx).covers(site) { // before anything is looked up, so that no time tells
		return streams.Entry{}, none
	}
	e, err := a.o.Articles.Get(ctx, streams.KeyOf(site, id), 0)
	if errors.Is(err, streams.ErrNotFound) || err == nil && e.Site != site {
		return streams.Entry{}, none
	}
	if err != nil {
		return streams.Entry{}, a.fault(ctx, "article", err)
	}
	return e, nil
}

func (a *API) get(ctx context.Context, in *getInput) (*getOutput, error) {
	who := callerOf(ctx)
	fields, err := parseFields(in.Fields)
	if err != nil {
		return nil, err
	}
	e, err := a.find(ctx, in.Site, in.ID)
	if err != nil {
		return nil, err
	}
	one := e.Article
	if in.Version > 0 && in.Version != one.Number && one.Live() {
		former, err := a.former(ctx, e)
		if err != nil {
			return nil, a.fault(ctx, "former versions", err)
		}
		i := slices.IndexFunc(former, func(f *article.Article) bool { return f.Number == in.Version })
		if i < 0 {
			return nil, huma.Error404NotFound("This version is not kept. " + a.articleAddress(in.Site, in.ID) + "/versions lists those that are.")
		}
		one = former[i]
	}
	out := &getOutput{Status: http.StatusOK, CacheControl: who.caching(articleCaching), Policy: inert, Vary: "Accept"}
	if !one.Live() {
		out.Status = http.StatusGone
	}
	out.Link = "<" + headerSafe(one.URL) + `>; rel="canonical", ` + a.discovery(one)
	switch format(in) {
	case typeNinjs:
		out.ContentType = typeNinjs
		of, _ := a.o.Sites.Get(one.Site)
		out.Body, err = ninjs.New(one.WithMedia(a.o.MediaURL), of, !who.full).Encode()
	case typeHTML:
		out.ContentType = typeHTML + "; charset=utf-8"
		out.Body, err = a.fragment(who, one)
	default:
		out.ContentType = typeJSON
		out.Body, err = a.item(who, one, fields, true)
	}
	if err != nil {
		return nil, a.fault(ctx, "article", err)
	}
	return out, nil
}

// inert keeps a browser that is shown an answer from running or loading anything of it but pictures.
const inert = "default-src 'none'; img-src http: https:; sandbox"

// format is the media type that is wanted: JSON, unless another is named.
func format(in *getInput) string {
	if t := map[string]string{"json": typeJSON, "ninjs": typeNinjs, "html": typeHTML}[in.Format]; t != "" {
		return t
	}
	h := http.Header{"Accept": {in.Accept}}
	best, most := typeJSON, gateway.Accepted(h, typeJSON)
	for _, t := range []string{typeNinjs, typeHTML} {
		if q := gateway.Accepted(h, t); q > most {
			best, most = t, q
		}
	}
	return best
}

// headerSafe is an address without what would end it within a header.
func headerSafe(address string) string {
	return strings.NewReplacer("<", "%3C", ">", "%3E", " ", "%20", "\r", "", "\n", "").Replace(address)
}

// articleAddress is where the API has an article.
func (a *API) articleAddress(site, id string) string {
	return a.o.PublicURL + "v1/articles/" + url.PathEscape(site) + "/" + url.PathEscape(id)
}

var fragment = template.Must(template.New("article").Parse(fragmentText))

//go:embed fragment.html
var fragmentText string

// fragment is the article as one element of HTML.
func (a *API) fragment(who caller, one *article.Article) ([]byte, error) {
	p := a.public(who, one)
	view := struct {
		article.Public
		HTML    template.HTML // sanitised when the article was taken in
		Lead    *article.PublicImage
		English bool
		When    string
	}{Public: p, HTML: template.HTML(p.Body), English: !strings.HasPrefix(p.Language, "vi"), When: p.Published.Format("02/01/2006 15:04")}
	for i := range p.Images {
		if p.Images[i].Role == events.RoleLead && !strings.Contains(p.Body, p.Images[i].URL) {
			view.Lead = &p.Images[i]
		}
	}
	var b bytes.Buffer
	if err := fragment.Execute(&b, view); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type versionsOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Versions []versionView `json:"versions" doc:"The newest first."`
	}
}

type versionView struct {
	article.Version
	Current    bool      `json:"current" doc:"Whether it is the one that may be shown now."`
	Title      string    `json:"title"`
	Updated    time.Time `json:"updated"`
	Correction string    `json:"correction,omitempty"`
	URL        string    `json:"url" doc:"Where this version is read."`
}

// former gives the former versions of an article that is live.
func (a *API) former(ctx context.Context, e streams.Entry) ([]*article.Article, error) {
	if a.o.Former == nil || !e.Live() {
		return nil, nil
	}
	return a.o.Former(ctx, e)
}

func (a *API) versions(ctx context.Context, in *struct {
	Site string `path:"site" maxLength:"64" doc:"The site's id."`
	ID   string `path:"id" maxLength:"1024" doc:"The article's id at its site."`
}) (*versionsOutput, error) {
	e, err := a.find(ctx, in.Site, in.ID)
	if err != nil {
		return nil, err
	}
	if !e.Live() {
		return nil, huma.Error410Gone("This article was withdrawn.")
	}
	former, err := a.former(ctx, e)
	if err != nil {
		return nil, a.fault(ctx, "former versions", err)
	}
	out := &versionsOutput{CacheControl: callerOf(ctx).caching(articleCaching)}
	for i, v := range append([]*article.Article{e.Article}, former...) {
		address := a.articleAddress(e.Site, e.ID)
		if i > 0 {
			address += "?version=" + strconv.FormatInt(v.Number, 10)
		}
		out.Body.Versions = append(out.Body.Versions, versionView{Version: v.Version, Current: i == 0, Title: v.Title, Updated: v.Updated, Correction: v.Correction, URL: address})
	}
	return out, nil
}
