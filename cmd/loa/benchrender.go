package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	gorilla "github.com/gorilla/feeds"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
)

// feedMeta is like what feeds are stored with.
var feedMeta = objects.Meta{ContentType: "application/atom+xml; charset=utf-8", CacheControl: "public, max-age=60",
	User: map[string]string{"loa-revision": "1", "loa-form": "floor"}}

// changedMost is the part of the floor's time that a feed may take in which one entry changed.
const changedMost = 0.1

// rendering measures the rendering of a feed in each format, beside gorilla/feeds.
func (fb *feedsBench) rendering() error {
	sites, tree, err := roots(1)
	if err != nil {
		return err
	}
	catalog, err := newCatalog(tree)
	if err != nil {
		return err
	}
	var articles []*article.Article
	for _, a := range plain(sites[0].ID, feedPage) {
		articles = append(articles, logged(a))
	}
	trial, err := newTrial(catalog, sites[0].ID, articles)
	if err != nil {
		return err
	}
	bare := gorillaFeed(articles)
	alone := map[string]func() (string, error){"rss": bare.ToRss, "atom": bare.ToAtom, "json": bare.ToJSON}
	anew := func(name string) func() error {
		return func() error { _, err := trial.Anew(name); return err }
	}
	all := func() error {
		for _, render := range alone {
			if _, err := render(); err != nil {
				return err
			}
		}
		return nil
	}
	next := 0
	changed := func() error { next++; _, err := trial.Changed(next % feedPage); return err }
	type pair struct {
		name        string
		ours, floor func() error
		most        float64
	}
	pairs := []pair{{fmt.Sprintf("render %d entries in all formats, one changed", feedPage), changed, all, changedMost}}
	for _, name := range trial.Formats() {
		pairs = append(pairs, pair{fmt.Sprintf("render %d entries, all anew, %s", feedPage, strings.ToUpper(name)),
			anew(name), func() error { _, err := alone[name](); return err }, 1})
	}
	for _, p := range pairs {
		var ours, floor []float64
		for range fb.size.renders {
			for _, side := range []struct {
				do   func() error
				into *[]float64
			}{{p.ours, &ours}, {p.floor, &floor}} {
				began := time.Now()
				if err := side.do(); err != nil {
					return err
				}
				*side.into = append(*side.into, ms(time.Since(began)))
			}
			if fb.ctx.Err() != nil {
				return fb.ctx.Err()
			}
		}
		err := fb.report(figure{Figure: p.name, Value: median(ours), Unit: "ms"}.over(median(floor)).atMost(p.most))
		if err != nil {
			return err
		}
	}
	fb.say("rendered %d times in each format", fb.size.renders)
	return nil
}

// gorillaFeed is the articles as gorilla/feeds takes them.
func gorillaFeed(articles []*article.Article) *gorilla.Feed {
	f := &gorilla.Feed{Title: "Xã", Link: &gorilla.Link{Href: "https://xa-0.example/"}, Id: "https://xa-0.example/", Updated: articles[0].Updated}
	for _, a := range slices.Backward(articles) {
		f.Items = append(f.Items, &gorilla.Item{Title: a.Title, Link: &gorilla.Link{Href: a.URL}, Id: a.GUID,
			Author: &gorilla.Author{Name: a.Authors[0].Name}, Description: a.Summary, Content: a.Body,
			Created: a.Published, Updated: a.Updated})
	}
	return f
}
