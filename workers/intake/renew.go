package intake

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

// Renew has the article show its stored pictures as renew gives them, in other renditions that is.
// It writes a new revision, which feeds and portals follow, and reports so, unless that changes
// nothing. It may be called while an intake runs, in any process, and again after any error.
func (in *Intake) Renew(ctx context.Context, key streams.Key, renew func(context.Context, article.Image) (article.Image, error)) (bool, error) {
	cur, err := in.log.Latest(ctx, key)
	if errors.Is(err, streams.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	change := func(ctx context.Context, a *article.Article) (bool, error) { return renewed(ctx, a, renew) }
	next := *cur.Article
	// Most articles change nothing, and cost no more than this.
	if changed, err := change(ctx, &next); err != nil || !changed {
		return false, err
	}
	kind, err := in.revise(ctx, key, change)
	return kind == applied, err
}

func renewed(ctx context.Context, a *article.Article, renew func(context.Context, article.Image) (article.Image, error)) (bool, error) {
	if !a.Live() {
		return false, nil
	}
	images := slices.Clone(a.Images)
	for i, img := range images {
		if !img.Stored() {
			continue
		}
		var err error
		if images[i], err = renew(ctx, img); err != nil {
			return false, fmt.Errorf("renew picture %s: %w", img.SHA256, err)
		}
	}
	if reflect.DeepEqual(images, a.Images) {
		return false, nil
	}
	a.Images = images
	base, err := pageOf(a)
	if err != nil {
		return false, err
	}
	a.Body, err = sanitise(a.Body, article.SanitiseOptions{Base: base, Stored: true, Image: func(src string) (article.Picture, bool) {
		match := storedPicture.FindStringSubmatch(src)
		if match == nil {
			return article.Picture{}, false
		}
		i := slices.IndexFunc(images, func(img article.Image) bool { return img.SHA256 == match[1] })
		if i < 0 {
			return article.Picture{}, false
		}
		p := picture(images[i]) // of which the body has all but this
		return article.Picture{Src: p.Src, SrcSet: p.SrcSet, Sizes: p.Sizes, Width: p.Width, Height: p.Height}, true
	}})
	return true, err
}

// storedPicture is the address of one of a picture's objects in a body.
var storedPicture = regexp.MustCompile(`^` + article.MediaScheme + `media/([0-9a-f]{64})/`)
