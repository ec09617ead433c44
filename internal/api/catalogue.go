package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"
)

// catalogueCaching: sites change with the configuration, feeds with categories.
const catalogueCaching = "max-age=60"

type siteView struct {
	ID     string `json:"id" doc:"Permanent."`
	Name   string `json:"name"`
	Parent string `json:"parent,omitempty" doc:"The site under which it lies."`
	URL    string `json:"url" doc:"Its home page."`
}

type sitesOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Sites []siteView `json:"sites"`
	}
}

type feedView struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Site  string `json:"site" doc:"The site's id."`
	Kind  string `json:"kind" doc:"What it selects: site, subtree, category, gallery and others."`
	RSS   string `json:"rss"`
	Atom  string `json:"atom"`
	JSON  string `json:"json"`
}

type feedsOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Feeds []feedView `json:"feeds"`
	}
}

func (a *API) registerCatalogue() {
	huma.Register(a.huma, operation("list-sites", "/v1/sites", "List the sites", "Those whose articles you may read, as a tree."), a.sites)
	huma.Register(a.huma, operation("list-feeds", "/v1/feeds", "List the feeds", "Those of the sites whose articles you may read. Feeds are public, and need no key."), a.feeds)
}

func (a *API) sites(ctx context.Context, _ *struct{}) (*sitesOutput, error) {
	who := callerOf(ctx)
	out := &sitesOutput{CacheControl: who.caching(catalogueCaching)}
	out.Body.Sites = []siteView{}
	for _, s := range a.o.Sites.All() {
		if who.covers(s.ID) {
			out.Body.Sites = append(out.Body.Sites, siteView{s.ID, s.Name, s.Parent, s.URL})
		}
	}
	return out, nil
}

func (a *API) feeds(ctx context.Context, in *struct {
	Site string `query:"site" maxLength:"64" doc:"Only feeds of this site."`
}) (*feedsOutput, error) {
	who := callerOf(ctx)
	if _, err := a.sitesOf(who, in.Site, ""); err != nil {
		return nil, err
	}
	all, err := a.o.Feeds(ctx)
	if err != nil {
		return nil, a.fault(ctx, "list of feeds", err)
	}
	out := &feedsOutput{CacheControl: who.caching(catalogueCaching)}
	out.Body.Feeds = []feedView{}
	for _, f := range all {
		if who.covers(f.Site) && (in.Site == "" || f.Site == in.Site) {
			base := a.o.PublicURL + "feeds/" + f.ID + "/feed."
			out.Body.Feeds = append(out.Body.Feeds, feedView{f.ID, f.Title, f.Site, f.Kind, base + "rss", base + "atom", base + "json"})
		}
	}
	return out, nil
}
