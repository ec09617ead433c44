package media

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/workers/media/picture"
)

// forms names what is made of a picture: two settings that make the same have the same name.
func forms(widths []int) string {
	var parts []string
	for _, w := range widths {
		parts = append(parts, strconv.Itoa(w))
	}
	return strings.Join(append(parts, picture.JPEG.Ext(), picture.WebP.Ext()), " ")
}

// formsBefore is what was made of a picture in whose entry in the index nothing is said of it.
var formsBefore = forms(Widths)

// Renew gives a stored picture in the renditions that the settings ask for now, and makes those
// first if that was not done yet. Former ones stay until the picture is erased: somebody may show
// them still. A [*PermanentError] says that it cannot be done.
func (s *Store) Renew(ctx context.Context, img article.Image) (article.Image, error) {
	p, err := s.shared(ctx, "renew."+img.SHA256, func(ctx context.Context) (*stored, error) { return s.renew(ctx, img) })
	if err != nil {
		return img, fmt.Errorf("renew picture %s: %w", img.SHA256, err)
	}
	img.Renditions = p.Renditions
	return img, nil
}

func (s *Store) renew(ctx context.Context, img article.Image) (*stored, error) {
	p, err := s.index.picture(ctx, img.SHA256)
	if err != nil {
		return nil, err
	}
	if p == nil { // the index was lost; the article knows as much
		p = &stored{SHA256: img.SHA256, Original: img.Original, Renditions: img.Renditions, Forms: "unknown"}
	}
	want := forms(s.o.Widths)
	if cmp.Or(p.Forms, formsBefore) == want {
		return p, nil
	}
	weight := min(max(p.Original.Size, 1), s.o.Bodies)
	if err := s.bodies.Acquire(ctx, weight); err != nil {
		return nil, fmt.Errorf("wait for %d bytes of memory to read: %w", weight, err)
	}
	defer s.bodies.Release(weight)
	original, err := s.o.Objects.Get(ctx, p.key(p.Original), objects.MaxBody)
	if errors.Is(err, objects.ErrNotFound) {
		return nil, &PermanentError{err}
	}
	if err != nil {
		return nil, err
	}
	pic, err := picture.Open(original.Body, s.o.Limits)
	if err != nil {
		return nil, classify(err)
	}
	renditions, err := s.render(ctx, pic)
	if err != nil {
		return nil, classify(err)
	}
	next := &stored{SHA256: p.SHA256, Original: p.Original, Forms: want}
	if err := s.putRenditions(ctx, next, renditions); err != nil {
		return nil, err
	}
	return next, s.index.putPicture(ctx, next)
}
