package media

import (
	"cmp"
	"context"
	"fmt"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/workers/media/picture"
)

// formsBefore is what was made of a picture in whose entry in the index nothing is said of it.
var formsBefore = picture.DefaultForms().String()

// Renew gives a stored picture in the renditions that the settings ask for now, and makes those
// first if that was not done yet. Former ones stay until the picture is erased: somebody may show
// them still. A [*PermanentError] says that it cannot be done.
func (s *Store) Renew(ctx context.Context, img article.Image) (article.Image, error) {
	p, err := s.shared(ctx, "renew."+img.SHA256+"."+focal(img.Image).String(), func(ctx context.Context) (*stored, error) { return s.renew(ctx, img) })
	if err != nil {
		return img, fmt.Errorf("renew picture %s: %w", img.SHA256, err)
	}
	img.Renditions, img.Thumbhash, img.Colour, img.Crops = p.Renditions, p.Thumbhash, p.Colour, nil
	if len(s.o.Forms.Crops) > 0 {
		img.Crops = p.Crops[focal(img.Image).String()]
	}
	return img, nil
}

func (s *Store) renew(ctx context.Context, img article.Image) (*stored, error) {
	p, err := s.index.stored(ctx, "sha", img.SHA256)
	if err != nil {
		return nil, err
	}
	if p == nil { // the index was lost; the article knows as much
		p = &stored{SHA256: img.SHA256, Original: img.Original, Renditions: img.Renditions, Forms: "unknown"}
	}
	forms, about := s.o.Forms, focal(img.Image)
	forms.Focal = about
	if cmp.Or(p.Forms, formsBefore) == forms.String() {
		if len(forms.Crops) == 0 || p.Crops[about.String()] != nil {
			return p, nil
		}
		return s.crop(ctx, p.SHA256, about) // which leaves those about other points
	}
	pic, release, err := s.reopen(ctx, p)
	if err != nil {
		return nil, err
	}
	defer release()
	made, err := s.render(ctx, pic, forms)
	if err != nil {
		return nil, err
	}
	next := &stored{SHA256: p.SHA256, Original: p.Original, Forms: forms.String(),
		Thumbhash: made.Placeholder.Thumbhash, Colour: made.Placeholder.Colour}
	if err := s.putRenditions(ctx, next, made.Renditions, about); err != nil {
		return nil, err
	}
	return next, s.index.putStored(ctx, "sha", next)
}
