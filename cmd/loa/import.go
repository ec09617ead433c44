package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/importer"
	"github.com/loa-syndication/loa/internal/outbound"
)

// importFlags are common to all sources.
type importFlags struct {
	client
	Site    string         `required:"" help:"Site that the articles become those of." placeholder:"SITE"`
	DryRun  bool           `help:"Publish nothing, and tell what would be."`
	Limit   int            `help:"End after as many items." placeholder:"N"`
	Restore bool           `help:"Bring back articles that were withdrawn in Loa."`
	Dated   bool           `help:"Set aside what names no time of publication, rather than have it lead the feeds with that of its import."`
	Zone    string         `default:"Asia/Ho_Chi_Minh" help:"Time zone of times that name none."`
	Allow   []netip.Prefix `help:"Private addresses that may be called, such as 10.20.0.0/16." placeholder:"PREFIX"`
	JSON    bool           `help:"Print one object an item, and a summary as the last."`
}

const importHelp = `Every article that is new or says something else than the log has is published, as by any
CMS; what is there as it is, is left alone. So a run that was interrupted is repeated, and a
repeated run changes nothing. That its times alone moved is no change.

What cannot be imported is set aside, with the reason: no address, a date that cannot be read
or lies in the future, text in an encoding that cannot be told. Text in TCVN3, VNI and VPS is
converted. The status is 3 when something was set aside, 0 when nothing was.

Portals are sent what their filters select, whatever its age. Before years of articles are
imported, give the filters of portals that are not to get them a day to begin with: since, in
the configuration or the portals' file.`

type importFeedCmd struct {
	importFlags
	URL             string        `arg:"" help:"Address of an RSS, Atom or JSON feed, or of a page that names one." placeholder:"URL"`
	Alone           bool          `help:"Import the document itself, without older ones."`
	Watch           bool          `help:"Go on, and poll the feed."`
	Every           time.Duration `default:"5m" help:"How often to poll; a feed may ask for longer pauses."`
	WithdrawMissing bool          `help:"Withdraw articles that at two looks in a row are not in the feed any more, while older ones are."`
	State           string        `help:"File of what is known of the feed, for --watch and --withdraw-missing (import/<hash>.json in the data directory)." placeholder:"FILE"`
}

// Help is shown by loa import feed --help.
func (*importFeedCmd) Help() string {
	return importHelp + `

Older items are followed through archives (RFC 5005), rel=next, next_url and WordPress's ?paged=.
Entries that the feed says were deleted (RFC 6721) are withdrawn. With --watch an old portal
takes part that can say nothing by itself: it is asked with conditions, no oftener than its ttl and
Cache-Control say, and left alone for longer while it fails.

  loa import feed https://caugo.example.vn/rss --site phuong-cau-go --dry-run
  loa import feed https://caugo.example.vn/rss --site phuong-cau-go --watch --every 10m`
}

func (c *importFeedCmd) Run(e *env) error {
	if c.Every < importer.MinEvery {
		return fmt.Errorf("--every: found %s, expected at least %s", c.Every, importer.MinEvery)
	}
	if c.Watch && c.Limit > 0 {
		return errors.New("--limit: expected none with --watch, which is to miss nothing")
	}
	return c.with(e, c.URL, func(r *importRun) error {
		feed := &importer.Feed{Fetcher: r.fetcher, URL: c.URL, Site: c.Site, Zone: r.zone, Alone: c.Alone,
			OnPage: func(address string, items int) { r.progress("%s: %d items", address, items) }}
		watch := &importer.Watch{Feed: feed, Importer: r.importer, Every: c.Every, WithdrawMissing: c.WithdrawMissing, DryRun: c.DryRun,
			OnWarning: func(text string) { fmt.Fprintln(e.stderr, "loa: warning:", text) }}
		if c.Watch || c.WithdrawMissing {
			if watch.State = c.State; watch.State == "" {
				sum := sha256.Sum256([]byte(c.URL + "\x00" + c.Site))
				watch.State = filepath.Join(r.dataDir, "import", hex.EncodeToString(sum[:8])+".json")
			}
		}
		if !c.Watch {
			_, err := watch.Poll(e.ctx, true)
			return err
		}
		watch.OnPoll = func(unchanged bool, next time.Duration, err error) {
			switch next := next.Round(time.Second); {
			case err != nil:
				fmt.Fprintf(e.stderr, "loa: %v; again in %s\n", err, next)
			case unchanged:
				r.progress("not modified; again in %s", next)
			default:
				r.progress("%s; again in %s", r.counts(), next)
			}
		}
		return watch.Run(e.ctx)
	})
}

type importWordPressCmd struct {
	importFlags
	URL   string     `arg:"" help:"Home page of a WordPress site." placeholder:"URL"`
	Since *time.Time `help:"Only posts that were changed after this time (RFC 3339)." placeholder:"TIME"`
}

// Help is shown by loa import wordpress --help.
func (*importWordPressCmd) Help() string {
	return importHelp + `

Posts come through the REST API (wp-json), with their categories, tags, authors and pictures.
They have the ids that they have in the site's feed, so loa import feed may go on from there.

  loa import wordpress https://caugo.example.vn/ --site phuong-cau-go`
}

func (c *importWordPressCmd) Run(e *env) error {
	return c.with(e, c.URL, func(r *importRun) error {
		w := &importer.WordPress{Fetcher: r.fetcher, URL: c.URL, Site: c.Site,
			OnPage: func(page, pages int) { r.progress("page %d of %d", page, pages) }}
		if c.Since != nil {
			w.Since = *c.Since
		}
		return r.run(w.Items(e.ctx))
	})
}

type importFolderCmd struct {
	importFlags
	Dir string `arg:"" type:"existingdir" help:"Folder of Markdown and HTML files, with those below it." placeholder:"DIR"`
	URL string `name:"url" help:"Address at which the folder was, for files that do not name theirs." placeholder:"URL"`
}

// Help is shown by loa import folder --help.
func (*importFolderCmd) Help() string {
	return importHelp + `

A file has front matter, as loa publish --help shows it, of which neither site, id nor version
is needed, or as Jekyll and Hugo write it; or it is a whole HTML page, of which title, times,
picture and text are found where pages have them.

  loa import folder ./ban-sao --site phuong-cau-go --url https://caugo.example.vn/`
}

func (c *importFolderCmd) Run(e *env) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	return c.with(e, (&url.URL{Scheme: "file", Path: filepath.ToSlash(dir)}).String(), func(r *importRun) error {
		return r.run((&importer.Folder{Dir: c.Dir, Site: c.Site, Base: c.URL, Zone: r.zone}).Items(e.ctx))
	})
}

// importRun is an import under way, as the command line shows it.
type importRun struct {
	e        *env
	json     bool
	dryRun   bool
	dataDir  string
	zone     *time.Location
	fetcher  *importer.Fetcher
	importer *importer.Importer
	aside    []importer.Result
	more     int // set aside beside those
	undated  int
	// converted counts the articles that were published from another encoding, by its name.
	converted map[string]int
	shown     time.Time
}

const (
	// shownAside is how many items that were set aside a summary names.
	shownAside = 50
	// progressEvery is how often progress is shown between pages.
	progressEvery = 5 * time.Second
)

// with connects, does an import from source, and tells what came of it.
func (c *importFlags) with(e *env, source string, do func(*importRun) error) error {
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		return fmt.Errorf("--zone: found %q, expected a time zone such as Asia/Ho_Chi_Minh", c.Zone)
	}
	if !strings.HasPrefix(source, "file:") {
		if _, err := outbound.CheckURL(source, true); err != nil {
			return err
		}
	}
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	tree, err := siteTree(s.cfg.Sites)
	if err != nil {
		return err
	}
	if _, known := tree.Get(c.Site); !known && len(s.cfg.Sites) > 0 { // else NATS was named without a configuration
		return fmt.Errorf("--site: %q is not one of the sites: %s", c.Site, strings.Join(tree.Names(), ", "))
	}
	r := &importRun{e: e, shown: time.Now(), json: c.JSON, converted: map[string]int{}, dryRun: c.DryRun, dataDir: s.cfg.DataDir, zone: zone, fetcher: importer.NewFetcher(append(c.Allow, s.cfg.Media.Allow...))}
	defer r.fetcher.Close()
	r.importer, err = importer.New(e.ctx, importer.Options{JS: s.js, Log: s.log, Source: source, DryRun: c.DryRun, Restore: c.Restore, Dated: c.Dated, Limit: c.Limit, Report: r.report})
	if err != nil {
		return err
	}
	fault := do(r)
	if errors.Is(fault, context.Canceled) {
		fault = errors.New("interrupted; run it again, and it goes on where it was")
	}
	if err := r.summary(fault == nil); err != nil {
		return err
	}
	if fault == nil && r.importer.Count(importer.SetAside) > 0 {
		return errLater
	}
	return fault
}

func (r *importRun) run(items iter.Seq2[importer.Item, error]) error {
	return r.importer.Run(r.e.ctx, items)
}

// report tells of an item's outcome.
func (r *importRun) report(res importer.Result) {
	if r.json {
		_ = r.e.json(map[string]any{"article": res.Item.Article.Site + "/" + res.Item.Article.ID, "where": res.Item.Where, "title": res.Item.Article.Title,
			"outcome": res.Outcome, "version": res.Version, "reason": res.Reason, "undated": res.Undated, "converted_from": res.Item.Converted})
	}
	if res.Outcome == importer.SetAside {
		if len(r.aside) < shownAside {
			r.aside = append(r.aside, res)
		} else {
			r.more++
		}
	}
	if res.Undated {
		r.undated++
	}
	if c := res.Item.Converted; c != "" && (res.Outcome == importer.Imported || res.Outcome == importer.Updated) {
		r.converted[c]++
	}
	if time.Since(r.shown) > progressEvery {
		r.progress("%s", r.counts())
	}
}

// progress goes to standard error, where it is not taken for a result.
func (r *importRun) progress(format string, args ...any) {
	r.shown = time.Now()
	fmt.Fprintf(r.e.stderr, format+"\n", args...)
}

// counts is the outcomes so far, on one line.
func (r *importRun) counts() string {
	var parts []string
	for _, o := range importer.Outcomes() {
		if n := r.importer.Count(o); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	if parts == nil {
		return "nothing found"
	}
	return strings.Join(parts, ", ")
}

func (r *importRun) summary(finished bool) error {
	if r.json {
		counts := map[string]int{}
		for _, o := range importer.Outcomes() {
			counts[string(o)] = r.importer.Count(o)
		}
		return r.e.json(map[string]any{"summary": counts, "finished": finished, "dry_run": r.dryRun})
	}
	if r.dryRun {
		r.e.printf("Nothing was published. It would have been: ")
	}
	r.e.printf("%s\n", r.counts())
	for _, encoding := range slices.Sorted(maps.Keys(r.converted)) {
		r.e.printf("  %d were converted from %s\n", r.converted[encoding], encoding)
	}
	if r.undated > 0 {
		r.e.printf("  %d name no time of publication, and have that of their import; --dated sets such aside\n", r.undated)
	}
	for _, a := range r.aside {
		r.e.printf("  set aside: %s: %s\n", a.Item.Where, a.Reason)
	}
	if r.more > 0 {
		r.e.printf("  and %d more, which --json lists\n", r.more)
	}
	return nil
}
