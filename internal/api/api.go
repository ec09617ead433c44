// Package api is the partner API: what those read who keep a copy of the articles, or show some of
// them, without speaking NATS.
//
//	/v1/articles                      list and filter, page by page
//	/v1/articles/<site>/<id>          one article as JSON, ninjs 3.1 or a fragment of HTML
//	/v1/articles/<site>/<id>/versions its former versions, as long as the inbox keeps them
//	/v1/changes                       the log in order: every change and withdrawal, by long polling
//	/v1/changes/stream                the same as Server-Sent Events
//	/v1/sites  /v1/feeds              which there are
//	/v1/openapi.json|yaml  /v1/       the description, generated from the code, and a page to read
//	/embed.js  /oembed                headlines and single articles for other people's pages
//
// Everything is read from the log; which articles there are, in which order, is known to
// internal/listing, and until that has read the log the API answers 503.
//
// Who asks has a key of internal/keys, or is a stranger, who sees what the configuration makes
// public. What a key does not cover does not exist for it, and nobody is told the difference
// between a key that was revoked and one that never was. All limits hold for each process.
package api

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/keys"
	"github.com/loa-syndication/loa/internal/listing"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// What strangers see.
const (
	PublicNone    = "none"
	PublicSummary = keys.ContentSummary
	PublicFull    = keys.ContentFull
)

// Articles is the log. [*streams.Log] is one.
type Articles interface {
	Get(ctx context.Context, key streams.Key, atLeast uint64) (streams.Entry, error)
	GetMany(ctx context.Context, keys []streams.Key) (map[streams.Key]streams.Entry, error)
}

// Options are what an [API] works with. All but Former, Registerer and Proxies are required.
type Options struct {
	Articles Articles
	Index    *listing.Index
	Keys     *keys.Registry
	Sites    *site.Tree
	// Feeds lists the feeds that there are.
	Feeds func(context.Context) ([]gateway.FeedInfo, error)
	// Former gives the versions of an article that the inbox still has, before that number, the
	// newest first; nil: there are none.
	Former func(ctx context.Context, current streams.Entry) ([]*article.Article, error)
	// PublicURL is how the world reaches the gateway, MediaURL what object keys follow.
	PublicURL, MediaURL string
	// Public is what strangers see: [PublicNone], [PublicSummary] or [PublicFull].
	Public string
	// Rate is that of keys which have none of their own, PublicRate that of a stranger's address;
	// in requests a second.
	Rate, PublicRate float64
	// Proxies are addresses that are believed when they say for whom they ask (X-Forwarded-For).
	Proxies    []netip.Prefix
	Registerer prometheus.Registerer
	Log        zerolog.Logger
}

// API answers partners' requests.
type API struct {
	o       Options
	mux     *http.ServeMux
	huma    huma.API
	pages   pages
	limits  *limits
	waiting *waiting
	scopes  sync.Map // of key ids: [][]string, the sites that they cover
	metrics *metrics
	// stopping is closed when the process ends: nobody is kept waiting then.
	stopping chan struct{}
	stop     sync.Once
}

// New makes an API.
func New(o Options) (*API, error) {
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/") + "/"
	m, err := newMetrics(o.Registerer, o.Index)
	if err != nil {
		return nil, err
	}
	a := &API{o: o, mux: http.NewServeMux(), limits: newLimits(), waiting: newWaiting(m), metrics: m, stopping: make(chan struct{})}
	a.huma = humago.New(a.mux, a.config())
	a.registerArticles()
	a.registerChanges()
	a.registerCatalogue()
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", allowed)
			problem(w, http.StatusMethodNotAllowed, "Only GET and HEAD are answered here.")
			return
		}
		problem(w, http.StatusNotFound, "There is nothing at this address. The API is described at "+o.PublicURL+"v1/")
	})
	if a.pages, err = a.makePages(); err != nil {
		return nil, err
	}
	a.mux.HandleFunc("GET /v1/{$}", a.servePage)
	return a, nil
}

// Mounts are the addresses at which the API answers.
func (a *API) Mounts() []gateway.Mount {
	return []gateway.Mount{
		{Prefix: "/v1/", Route: "api", Handler: a},
		{Prefix: "/v1", Route: "api", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, a.o.PublicURL+"v1/", http.StatusPermanentRedirect)
		})},
		{Prefix: "/embed.js", Route: "embed", Handler: http.HandlerFunc(a.serveEmbed)},
		{Prefix: oembedPath, Route: "oembed", Handler: http.HandlerFunc(a.serveOEmbed)},
	}
}

// Run keeps the index of articles until the context ends, and then lets nobody wait any longer.
func (a *API) Run(ctx context.Context) error {
	defer a.Close()
	return a.o.Index.Run(ctx)
}

// Close lets those who wait for changes go.
func (a *API) Close() { a.stop.Do(func() { close(a.stopping) }) }

const (
	allowed = "GET, HEAD, OPTIONS"
	// title and version name the API in its description.
	title      = "Loa"
	apiVersion = "1"
	// describing is where the description is, without its ending.
	describing = "/v1/openapi"
	// retryAfter is what somebody is told, in seconds, when something is away.
	retryAfter = "5"
)

func (a *API) config() huma.Config {
	c := huma.DefaultConfig(title, apiVersion)
	c.Info.Description = "Articles of public portals, for partners. Send your key as `Authorization: Bearer loa_…`."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = describing, "", ""
	c.CreateHooks = nil // which would add a link to a schema to every answer
	c.Servers = []*huma.Server{{URL: strings.TrimSuffix(a.o.PublicURL, "/")}}
	// With fields, an article has some of its members alone; others may be added.
	c.FieldsOptionalByDefault, c.AllowAdditionalPropertiesByDefault = true, true
	// A misspelt filter would be one that has no effect.
	c.RejectUnknownQueryParameters = true
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "A partner's key: loa_…"},
	}
	return c
}

// operation describes one to huma.
func operation(id, path, summary, description string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Description: description,
		Security: []map[string][]string{{"key": {}}, {}},
		Errors:   []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable}}
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	allowOrigins(w.Header())
	if r.Method == http.MethodOptions {
		preflight(w.Header())
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if path.Clean(r.URL.Path) != strings.TrimSuffix(r.URL.Path, "/") { // there are no two ways to spell one
		problem(w, http.StatusNotFound, "There is nothing at this address.")
		return
	}
	if r.URL.Path == changesPath && gateway.Accepted(r.Header, eventStream) > 0 {
		r = r.Clone(r.Context())
		r.URL.Path = streamPath
	}
	described := r.URL.Path == "/v1/" || strings.HasPrefix(r.URL.Path, describing)
	if !described {
		who, ok := a.admit(w, r)
		if !ok {
			return
		}
		if fault := misread(r.URL.RawQuery); fault != nil {
			problem(w, http.StatusUnprocessableEntity, "validation failed", fault)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
	}
	switch r.URL.Path {
	case streamPath:
		a.mux.ServeHTTP(w, r)
	case changesPath:
		extend(w, maxWait)
		fallthrough
	default:
		kept := newKept(w)
		a.mux.ServeHTTP(kept, r)
		kept.send(r, described)
	}
}

// misread finds what net/http drops from a query without a word: a filter would have no effect.
func misread(query string) *huma.ErrorDetail {
	values, err := url.ParseQuery(query)
	if err != nil {
		return &huma.ErrorDetail{Location: "query", Value: query, Message: "expected name=value, percent-encoded, with & between"}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if len(values[name]) > 1 {
			return &huma.ErrorDetail{Location: "query." + name, Value: values[name], Message: "expected once"}
		}
	}
	return nil
}

// extend gives an answer that much more time than the gateway gives others.
func extend(w http.ResponseWriter, more time.Duration) {
	c := http.NewResponseController(w)
	// A connection that knows no deadlines has none.
	_ = c.SetReadDeadline(time.Time{})
	_ = c.SetWriteDeadline(time.Now().Add(more + writeTimeout))
}

// fault makes the answer of an error that is not the caller's. What it is, only the log says.
func (a *API) fault(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		panic(http.ErrAbortHandler) // nobody is there any more
	}
	if errors.Is(err, listing.ErrNotReady) {
		return unavailable("The articles are being read. Please try again in a moment.")
	}
	a.o.Log.Warn().Err(err).Msg(what + " unavailable")
	return unavailable("This is not available at the moment. Please try again soon.")
}

func unavailable(detail string) error {
	return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(detail), http.Header{"Retry-After": {retryAfter}})
}

// invalid is the answer to a parameter that is wrong.
func invalid(location string, value any, message string) error {
	return huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{Location: location, Value: value, Message: message})
}
