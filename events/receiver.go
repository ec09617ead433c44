package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/go-json-experiment/json"
)

// MaxBulletinBytes is the size of the largest bulletin. One with every field at its limit has
// about 400 KB; an ordinary one has 4.
const MaxBulletinBytes = 1 << 20

// ParseBulletin reads a bulletin. It ignores fields that it does not know, and leaves a type
// that it does not know to the caller, who does well to accept and ignore it: either comes from
// a newer Loa. Of a [BulletinDigest] it gives type and time; the rest is [ParseDigest]'s.
func ParseBulletin(body []byte) (Bulletin, error) {
	var b Bulletin
	if len(body) > MaxBulletinBytes {
		return b, fmt.Errorf("parse bulletin: %d bytes, expected at most %d", len(body), MaxBulletinBytes)
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return Bulletin{}, fmt.Errorf("parse bulletin: %w", err)
	}
	switch b.Type {
	case "":
		return Bulletin{}, errors.New("parse bulletin: no type")
	case BulletinPublished, BulletinWithdrawn:
		if err := b.Data.identified(); err != nil {
			return Bulletin{}, fmt.Errorf("parse bulletin: %w", err)
		}
	}
	return b, nil
}

func (a BulletinArticle) identified() error {
	if a.GUID == "" || a.Version < 1 {
		return fmt.Errorf("guid %q, version %d: expected both", cut(a.GUID), a.Version)
	}
	return nil
}

type deliveryKey struct{}

// DeliveryID is the webhook-id of the bulletin that a function given to [Handler] handles: the
// same each time that Loa repeats it. For an article of a digest of several its place follows:
// "msg_5d1f.0".
func DeliveryID(ctx context.Context) string {
	id, _ := ctx.Value(deliveryKey{}).(string)
	return id
}

// Handler receives bulletins: it verifies the signature, reads the body and calls receive. A
// digest is taken apart: receive is called for each of its articles.
//
// receive must be quick (Loa waits 15 seconds), keep the bulletin only if it is newer than what
// the portal holds ([BulletinArticle.Newer]), and return nil in either case; calls for one
// article may be repeated and, after a failure, come out of order. With nil Loa is answered 204,
// and sends that version no more. With an error it is answered 500, and sends it again later.
//
// Other answers: 401 for a bad signature, 400 for a body that is no bulletin, 413 for one that is
// larger than [MaxBulletinBytes], 405 for another method than POST.
func Handler(v *Verifier, receive func(ctx context.Context, b Bulletin) error) http.Handler {
	return HandlerFor(v, func(_ string, body []byte) ([]Bulletin, error) { return ParseBulletins(body) }, receive)
}

// ParseBulletins reads the body of a POST of the format "bulletin": one bulletin, or those that
// a digest consists of.
func ParseBulletins(body []byte) ([]Bulletin, error) {
	b, err := ParseBulletin(body)
	if err != nil {
		return nil, err
	}
	if b.Type != BulletinDigest {
		return []Bulletin{b}, nil
	}
	d, err := ParseDigest(body)
	return d.Bulletins(), err
}

// HandlerFor is [Handler] for a portal that has chosen another format: parse reads a body of the
// given Content-Type, whose signature is good.
func HandlerFor(v *Verifier, parse func(contentType string, body []byte) ([]Bulletin, error), receive func(ctx context.Context, b Bulletin) error) http.Handler {
	return handler{v, parse, receive, nil}
}

type handler struct {
	verifier *Verifier
	parse    func(contentType string, body []byte) ([]Bulletin, error)
	receive  func(ctx context.Context, b Bulletin) error
	list     Lister // nil: manifests are of a type that is not known
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "bulletins are sent by POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBulletinBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, fmt.Sprintf("a bulletin has at most %d bytes", MaxBulletinBytes), http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	if err := h.verifier.Verify(r.Header, body); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	bulletins, err := h.parse(r.Header.Get("Content-Type"), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if h.list != nil && len(bulletins) == 1 && bulletins[0].Type == BulletinManifest {
		h.list.answer(w, r, body)
		return
	}
	for i, b := range bulletins {
		id := r.Header.Get(HeaderID)
		if len(bulletins) > 1 {
			id = fmt.Sprintf("%s.%d", id, i)
		}
		if err := h.receive(context.WithValue(r.Context(), deliveryKey{}, id), b); err != nil {
			http.Error(w, "the bulletin could not be kept", http.StatusInternalServerError)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
