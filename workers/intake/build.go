package intake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
)

const (
	defaultLanguage = "vi"
	defaultUrgency  = 5 // IPTC: normal

	// Lengths of text fields, in characters. The contract bounds them too; these hold whatever
	// Unicode normalisation made of them.
	maxTitle   = 500
	maxSummary = 2000
	maxLine    = 1000
	maxNote    = 5000

	// picturesAtOnce is how many of one article's pictures are fetched at the same time.
	picturesAtOnce = 6
	// maxEver bounds the categories, tags and authors that an article had over all its versions, by
	// which it is followed everywhere: ten times as many as one version can have.
	maxEver = 2000
	// maxBodyPictures bounds the pictures of one article that only its body names.
	maxBodyPictures = 50
)

// build makes the article's next version of an event; cur is the one before it, or nil.
func (in *Intake) build(ctx context.Context, cur *article.Article, ev events.Event) (*article.Article, error) {
	var next *article.Article
	var err error
	if ev.Withdrawal != nil {
		next = withdrawn(cur, ev)
	} else if next, err = in.published(ctx, ev.Article); err != nil {
		return nil, err
	}
	next.GUID = article.NewGUID(next.Site, next.ID)
	next.Accepted = in.accepted(cur)
	next.Number, next.Revision, next.Digests = ev.Version(), 0, []string{ev.Digest}
	if cur != nil {
		next.GUID = cur.GUID                // fixed at first publication, however it was made then
		next.Ever = remember(cur.Ever, cur) // what it has that was not remembered yet when it was made
		if cur.Number == ev.Version() {
			next.Revision = cur.Revision + 1
			next.Digests = append(slices.Clone(cur.Digests), ev.Digest)
		}
	}
	next.Ever = remember(next.Ever, next)
	if n := len(next.Ever.Categories) + len(next.Ever.Tags) + len(next.Ever.Authors); n > maxEver && next.Live() {
		return nil, &refusal{reason: fmt.Sprintf("/data/tags: with its former versions the article would have had %d categories, tags and authors, expected at most %d; publish it anew under another id", n, maxEver)}
	}
	if next.Live() && next.ExpiresAt != nil && !next.ExpiresAt.After(in.opts.Now()) {
		expire(next)
	}
	next.Release(cur)
	return next, nil
}

// accepted is the time at which the version after cur, or the first, enters the log.
func (in *Intake) accepted(cur *article.Article) time.Time {
	now := in.opts.Now().UTC().Truncate(time.Millisecond)
	if cur != nil && !now.After(cur.Accepted) { // clocks go back
		return cur.Accepted.Add(time.Millisecond)
	}
	return now
}

// published makes an article of a snapshot, with its pictures.
func (in *Intake) published(ctx context.Context, s *events.Article) (*article.Article, error) {
	a, wanted, err := draft(s)
	if err != nil {
		return nil, err
	}
	if a.Images, a.Attachments, err = in.storeMedia(ctx, wanted, a.Attachments); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(a.Images, article.Image.Stored) {
		if a.Body, err = rewrite(s.Body, a, false); err != nil {
			return nil, err
		}
	}
	if a.Summary == "" {
		a.Summary = article.Summary(a.Body, article.SummaryLength)
	}
	return a, nil
}

// draft makes an article of a snapshot, as it is without pictures, and lists those that it
// wants. All that can be wrong with a valid event is found here.
func draft(s *events.Article) (*article.Article, []events.Image, error) {
	a := &article.Article{
		Site: s.Site, ID: s.ID, Status: events.StatusLive,
		URL: s.URL, Title: article.Text(s.Title, maxTitle), Summary: article.Text(s.Summary, maxSummary),
		Language: s.Language, Urgency: s.Urgency, Published: s.Published, Updated: s.Published,
		ExpiresAt: s.ExpiresAt, Correction: article.Text(s.Correction, maxSummary),
	}
	if a.Title == "" {
		return nil, nil, &refusal{reason: "/data/title: got invisible characters alone, expected text"}
	}
	if a.Language == "" {
		a.Language = defaultLanguage
	}
	if a.Urgency == 0 {
		a.Urgency = defaultUrgency
	}
	if s.Updated != nil {
		a.Updated = *s.Updated
	}
	for _, au := range s.Authors {
		if au.Name = line(au.Name); au.Name != "" {
			a.Authors = append(a.Authors, au)
		}
	}
	for _, c := range s.Categories {
		c.Label = line(c.Label)
		if c.Label == "" {
			c.Label = c.ID
		}
		a.Categories = append(a.Categories, c)
	}
	for _, t := range s.Tags {
		if t = line(t); t != "" && !slices.Contains(a.Tags, t) {
			a.Tags = append(a.Tags, t)
		}
	}
	if s.Source != nil && line(s.Source.Name) != "" {
		a.Source = &events.Source{Name: line(s.Source.Name), URL: s.Source.URL}
	}
	for _, p := range s.Places {
		if p.Name, p.Code = line(p.Name), line(p.Code); p.Name != "" {
			a.Places = append(a.Places, p)
		}
	}
	if s.Rights != nil {
		a.Rights = &events.Rights{Copyright: article.Text(s.Rights.Copyright, maxNote), UsageTerms: article.Text(s.Rights.UsageTerms, maxNote)}
	}
	for _, f := range s.Attachments {
		f.Title = line(f.Title)
		a.Attachments = append(a.Attachments, article.Attachment{Attachment: f})
	}
	base, err := pageOf(a)
	if err != nil {
		return nil, nil, err
	}
	var wanted []events.Image
	a.Body, wanted, err = survey(s, base)
	return a, wanted, err
}

// pageOf is the address against which those in the article's body are resolved.
func pageOf(a *article.Article) (*url.URL, error) {
	base, err := url.Parse(a.URL)
	if err != nil {
		return nil, &refusal{reason: fmt.Sprintf("/data/url: %v", err)}
	}
	return base, nil
}

func line(s string) string { return article.Text(s, maxLine) }

// withdrawn makes the version that takes an article back. Of what it was, only what leads to it
// remains: readers who have it must learn what to remove.
func withdrawn(cur *article.Article, ev events.Event) *article.Article {
	w := ev.Withdrawal
	a := &article.Article{Site: w.Site, ID: w.ID, Language: defaultLanguage, Urgency: defaultUrgency,
		Published: w.WithdrawnAt, Title: w.ID}
	if cur != nil {
		a = husk(cur)
	}
	a.Status = events.StatusWithdrawn
	a.Updated = w.WithdrawnAt
	a.Expired = false
	if w.Erase {
		a.Kept = nil
	}
	a.Withdrawal = &events.BulletinWithdrawal{Reason: article.Text(w.Reason, maxSummary), RedirectURL: w.RedirectURL, WithdrawnAt: w.WithdrawnAt}
	return a
}

// husk is an article without its content. Its pictures stay where they are.
func husk(cur *article.Article) *article.Article {
	return &article.Article{GUID: cur.GUID, Site: cur.Site, ID: cur.ID, Version: cur.Version, Digests: cur.Digests,
		URL: cur.URL, Title: cur.Title, Language: cur.Language, Categories: cur.Categories, Tags: cur.Tags, Urgency: cur.Urgency,
		Published: cur.Published, Updated: cur.Updated, Accepted: cur.Accepted, ExpiresAt: cur.ExpiresAt, Ever: remember(cur.Ever, cur), Kept: cur.Pictures(), Gallery: cur.GalleryPictures()}
}

// expire turns an article into one that has been withdrawn because its time is over.
func expire(a *article.Article) {
	at := *a.ExpiresAt
	*a = *husk(a)
	a.Status, a.Expired = events.StatusWithdrawn, true
	a.Updated = at
	a.Withdrawal = &events.BulletinWithdrawal{Reason: "Hết thời hạn đăng tải", WithdrawnAt: at}
}

// maxPublished is how many times of publication are remembered: far more than an article has
// between two looks at the archives that it is in.
const maxPublished = 50

// remember adds an article's selections to those that it ever had.
func remember(ever article.Selections, a *article.Article) article.Selections {
	with := func(list []string, more ...string) []string {
		all := append(slices.Clone(list), more...)
		slices.Sort(all)
		return slices.Compact(all)
	}
	for _, c := range a.Categories {
		ever.Categories = with(ever.Categories, c.ID)
	}
	ever.Tags = with(ever.Tags, a.Tags...)
	for _, author := range a.Authors {
		ever.Authors = with(ever.Authors, author.Name)
	}
	ever.Languages = with(ever.Languages, a.Language)
	ever.Gallery = ever.Gallery || a.HasGallery()
	if t := a.Published.UTC(); !slices.ContainsFunc(ever.Published, t.Equal) {
		ever.Published = append(slices.Clone(ever.Published), t)
		ever.Published = ever.Published[max(len(ever.Published)-maxPublished, 0):]
	}
	if ever.Urgency == 0 || a.Urgency < ever.Urgency {
		ever.Urgency = a.Urgency
	}
	return ever
}

// survey gives the snapshot's body as it is without pictures, and the pictures wanted: those that
// the snapshot lists, with absolute addresses, and those that only its body shows.
func survey(s *events.Article, base *url.URL) (body string, wanted []events.Image, err error) {
	known := map[string]bool{}
	for _, img := range s.Images {
		if abs, ok := article.ResolveLink(base, img.URL); ok {
			img.URL = abs
		}
		img.Alt, img.Caption, img.Credit = article.Chars(img.Alt), article.Text(img.Caption, maxSummary), line(img.Credit)
		wanted = append(wanted, img)
		known[img.URL] = true
	}
	inBody := 0
	body, err = sanitise(s.Body, article.SanitiseOptions{Base: base, Image: func(src string) (article.Picture, bool) {
		if !known[src] && inBody < maxBodyPictures && !strings.HasPrefix(src, "cid:") {
			known[src] = true
			inBody++
			wanted = append(wanted, events.Image{URL: src, Role: events.RoleInline})
		}
		return article.Picture{}, false
	}})
	return body, wanted, err
}

func sanitise(body string, o article.SanitiseOptions) (string, error) {
	out, err := article.Sanitise(body, o)
	if err != nil {
		return "", &refusal{reason: "/data/body: " + err.Error()}
	}
	return out, nil
}

// storeMedia stores an article's pictures and attachments, those that have to be fetched at most
// until the deadline. Those that cannot be had do not hold it back: they are listed with what went
// wrong. Only the object store's own fault is an error, and the end of this process.
func (in *Intake) storeMedia(ctx context.Context, images []events.Image, files []article.Attachment) ([]article.Image, []article.Attachment, error) {
	if len(images)+len(files) == 0 {
		return nil, nil, nil
	}
	limited, cancel := context.WithTimeout(ctx, in.opts.PicturesDeadline)
	defer cancel()
	stored, kept := make([]article.Image, len(images)), make([]article.Attachment, len(files))
	var group errgroup.Group
	group.SetLimit(picturesAtOnce)
	for i, img := range images {
		group.Go(func() (err error) {
			until := limited
			if len(img.Data) > 0 {
				until = ctx // it is kept nowhere else, to be tried later
			}
			stored[i], err = in.storePicture(until, img)
			return err
		})
	}
	for i, file := range files {
		group.Go(func() (err error) {
			kept[i], err = in.storeFile(limited, file.Attachment)
			return err
		})
	}
	err := group.Wait()
	if len(images) == 0 {
		stored = nil
	}
	if len(files) == 0 {
		kept = nil
	}
	return stored, kept, err
}

func (in *Intake) storePicture(ctx context.Context, img events.Image) (stored article.Image, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = crashed(p)
		}
	}()
	stored, err = in.opts.Pictures.Store(ctx, img)
	if err == nil {
		stored.Data = nil
		return stored, nil
	}
	if others(ctx, err) {
		return article.Image{}, fmt.Errorf("store picture %s: %w", name(img), err)
	}
	stored = article.Image{Image: img, Fault: in.fault(ctx, err, stored.Fault)}
	stored.Data = nil
	stored.Pending = len(img.Data) == 0 && !in.opts.Pictures.Permanent(err)
	in.opts.Log.Warn().Err(err).Str("image", name(img)).Bool("retry", stored.Pending).Msg("picture not stored")
	return stored, nil
}

func (in *Intake) storeFile(ctx context.Context, file events.Attachment) (kept article.Attachment, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = crashed(p)
		}
	}()
	if kept, err = in.opts.Pictures.StoreFile(ctx, file); err == nil {
		return kept, nil
	}
	if others(ctx, err) {
		return article.Attachment{}, fmt.Errorf("store attachment %s: %w", file.URL, err)
	}
	kept.Attachment, kept.Fault = file, in.fault(ctx, err, kept.Fault)
	kept.Pending = !in.opts.Pictures.Permanent(err)
	in.opts.Log.Warn().Err(err).Str("attachment", file.URL).Bool("retry", kept.Pending).Msg("attachment not stored")
	return kept, nil
}

// others reports whether what went wrong is not the picture's fault, but the store's, or the end
// of this process.
func others(ctx context.Context, err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, objects.ErrUnavailable) && ctx.Err() == nil
}

// fault is what an article says of what is missing: said, if the store said something, which does
// not name the picture again.
func (in *Intake) fault(ctx context.Context, err error, said string) string {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return fmt.Sprintf("not there within %s", in.opts.PicturesDeadline)
	}
	return cmp.Or(said, err.Error())
}

func name(img events.Image) string {
	if img.URL != "" {
		return img.URL
	}
	return "cid:" + img.ContentID
}

// rewrite sanitises a body of a and makes it show the stored pictures. With again, it is one
// that went through this before.
func rewrite(body string, a *article.Article, again bool) (string, error) {
	base, err := pageOf(a)
	if err != nil {
		return "", err
	}
	pictures := map[string]article.Picture{}
	for _, img := range a.Images {
		if !img.Stored() {
			continue
		}
		p := picture(img)
		if img.URL != "" {
			pictures[img.URL] = p
		}
		if img.ContentID != "" {
			pictures["cid:"+img.ContentID] = p
		}
	}
	return sanitise(body, article.SanitiseOptions{Base: base, Stored: again, Image: func(src string) (article.Picture, bool) {
		p, ok := pictures[src]
		return p, ok
	}})
}

// bodySizes tells browsers how wide a body shows its pictures.
const bodySizes = "(max-width: 680px) 100vw, 640px"

// picture is a stored picture as a body shows it: JPEG, which every reader takes, in the
// widths that there are; WebP where nothing else is made.
func picture(img article.Image) article.Picture {
	p := article.Picture{Src: img.Original.URL, Width: img.Original.Width, Height: img.Original.Height, Alt: img.Alt, Caption: img.Caption}
	if img.Credit != "" && img.Caption != "" {
		p.Caption += " (" + img.Credit + ")"
	}
	format := "image/webp"
	if slices.ContainsFunc(img.Renditions, func(r events.Rendition) bool { return r.MediaType == "image/jpeg" }) {
		format = "image/jpeg"
	}
	var set []string
	for _, r := range img.Renditions {
		if r.MediaType != format {
			continue
		}
		set = append(set, fmt.Sprintf("%s %dw", r.URL, r.Width))
		if len(set) == 1 || r.Width <= bodyWidth {
			p.Src, p.Width, p.Height = r.URL, r.Width, r.Height
		}
	}
	if len(set) > 1 {
		p.SrcSet, p.Sizes = strings.Join(set, ", "), bodySizes
	}
	return p
}

// bodyWidth is how wide, in pixels, the picture is that a body shows where srcset is unknown.
const bodyWidth = 640
