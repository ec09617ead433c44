package media

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
)

// index remembers, in a key-value bucket, what was fetched and how it is stored:
//
//	url.<sha256 of the address>    source
//	sha.<sha256 of the original>   stored, a picture
//	file.<sha256>                  stored, a file of another kind
//
// An entry that cannot be read is as good as none.
type index struct{ kv jetstream.KeyValue }

// source is what an address gave.
type source struct {
	URL    string `json:"url"`
	SHA256 string `json:"sha256"`
	// ETag and LastModified are the server's, to ask it for changes with (RFC 9110 §13).
	ETag         string    `json:"etag,omitempty"`
	LastModified string    `json:"last_modified,omitempty"`
	Checked      time.Time `json:"checked"`
}

// stored is how a picture is stored.
type stored struct {
	SHA256     string             `json:"sha256"`
	Original   events.Rendition   `json:"original"`
	Renditions []events.Rendition `json:"renditions,omitempty"`
	// Forms names the settings that the renditions were made by ([picture.Forms.String]).
	Forms string `json:"forms,omitempty"`
	// Crops are by focal point. Of two that are made at the same time one may be missing here:
	// it is made again, under the same name, when it is wanted next.
	Crops     map[string][]article.Crop `json:"crops,omitempty"`
	Thumbhash []byte                    `json:"thumbhash,omitempty"`
	Colour    string                    `json:"colour,omitempty"`
}

// address is that of one of the picture's objects, inside an article.
func (p *stored) address(file string) string {
	return article.MediaScheme + "media/" + p.SHA256 + "/" + file
}

// key is the object's key that r's address stands for.
func (p *stored) key(r events.Rendition) string {
	return strings.TrimPrefix(r.URL, article.MediaScheme)
}

func (x index) source(ctx context.Context, address string) (*source, error) {
	return read(ctx, x, "url."+hash([]byte(address)), func(s *source) bool { return s.URL == address && s.SHA256 != "" })
}

// stored is the picture ("sha") or file ("file") of that hash.
func (x index) stored(ctx context.Context, kind, sum string) (*stored, error) {
	return read(ctx, x, kind+"."+sum, func(p *stored) bool { return p.SHA256 == sum && p.Original.URL != "" })
}

func (x index) putSource(ctx context.Context, s source) error {
	return x.put(ctx, "url."+hash([]byte(s.URL)), s)
}

func (x index) putStored(ctx context.Context, kind string, p *stored) error {
	return x.put(ctx, kind+"."+p.SHA256, p)
}

func read[T any](ctx context.Context, x index, key string, valid func(*T) bool) (*T, error) {
	entry, err := x.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read picture index %s: %w", key, err)
	}
	var v T
	if json.Unmarshal(entry.Value(), &v) != nil || !valid(&v) {
		return nil, nil
	}
	return &v, nil
}

func (x index) put(ctx context.Context, key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode picture index %s: %w", key, err)
	}
	if _, err := x.kv.Put(ctx, key, data); err != nil {
		return fmt.Errorf("write picture index %s: %w", key, err)
	}
	return nil
}
