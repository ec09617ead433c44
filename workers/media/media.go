// Package media stores the pictures of articles: images → S3.
//
// It is given a picture as an event names it, by address or inline, and returns it as an
// article shows it: with its SHA-256, the stored original and its renditions.
//
//	events.Image ──fetch──▶ bytes ──picture.Open, Render──▶ objects ──▶ article.Image
//	      │ unchanged?         │ held already?                  │
//	      └──── index ─────────┴────────── index ◀──────────────┘
//
// Objects are named after the SHA-256 of the original as it was received:
//
//	media/<sha256>/original.jpg             without private metadata, else as received
//	media/<sha256>/w320.jpg, w320.webp, ... 320, 640 and 1280 pixels wide by default, upright
//
// An object never changes; an index in a key-value bucket tells which picture an address gave
// and how a picture is stored, so that the same picture is fetched and stored once. The index
// may be lost: pictures are then fetched and made again, under the same names.
//
// What a picture may be, and what is kept of it, is package picture's matter; which addresses
// are called, package outbound's.
package media

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/workers/media/picture"
)

const (
	// maxBytesDefault bounds a picture's file. JPEG files of the greatest picture that is
	// taken (50 megapixels) have 15 to 30 MB.
	maxBytesDefault = 32 << 20
	// decodingDefault bounds the memory of all pictures that are being decoded: the greatest
	// single one, or three to four of 12 megapixels.
	decodingDefault = 256 << 20
	// bodiesDefault bounds the files that are being held: 8 of the greatest, 50 common ones.
	bodiesDefault = 256 << 20
	// jobTimeout bounds the work on one picture: fetching (30 s), waiting for memory,
	// decoding (20 s), storing (1 min a request).
	jobTimeout = 3 * time.Minute
	// maxPuts is how many objects of one picture are stored at once.
	maxPuts = 4
	// cacheControl: an object's name is made from its content.
	cacheControl = "public, max-age=31536000, immutable"
)

// Widths are those of the renditions by default, in pixels.
var Widths = []int{320, 640, 1280}

// Objects is where pictures are stored.
type Objects interface {
	Put(ctx context.Context, key string, body []byte, meta objects.Meta) (etag string, err error)
	Get(ctx context.Context, key string, maxBytes int64) (objects.Object, error)
	Stat(ctx context.Context, key string) (objects.Info, error)
}

// Options are what a [Store] works with. Objects, Index and Client are required.
type Options struct {
	Objects Objects
	// Index is the media bucket.
	Index jetstream.KeyValue
	// Client fetches pictures. It has to be one of package outbound, with redirects.
	Client *http.Client
	// Widths are those of the renditions, in pixels, ascending; see the default of that name.
	Widths []int
	// Limits of a picture; see there for the defaults.
	Limits picture.Limits
	// MaxBytes bounds a picture's file; 32 MiB when 0.
	MaxBytes int64
	// Decoding and Bodies bound, in bytes, the memory of all pictures that are being decoded
	// and the files that are being held; 256 MiB each when 0.
	Decoding, Bodies int64
	Registerer       prometheus.Registerer
	Log              zerolog.Logger
}

// Store stores pictures. It may be used by many goroutines at once.
type Store struct {
	o       Options
	index   index
	metrics *metrics

	// flights coalesces work on the same address and on the same bytes.
	flights singleflight.Group
	// bodies and decoding are acquired in this order, by bytes.
	bodies, decoding *semaphore.Weighted

	// ctx ends with Close. Work runs under it rather than under a caller's context: others may
	// be waiting for it too, and a caller that comes back for it finds it done.
	ctx     context.Context
	cancel  context.CancelFunc
	mu      sync.Mutex // guards closed, and Add before Wait of running
	closed  bool
	running sync.WaitGroup
}

// New makes a store, which the caller has to close. It panics if its metrics are registered
// already.
func New(o Options) *Store {
	if len(o.Widths) == 0 {
		o.Widths = Widths
	}
	o.MaxBytes = cmp.Or(o.MaxBytes, maxBytesDefault)
	o.Decoding = cmp.Or(o.Decoding, decodingDefault)
	o.Bodies = cmp.Or(o.Bodies, bodiesDefault)
	s := &Store{
		o:        o,
		index:    index{o.Index},
		metrics:  newMetrics(o.Registerer),
		bodies:   semaphore.NewWeighted(o.Bodies),
		decoding: semaphore.NewWeighted(o.Decoding),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends the work that is under way, and waits for it.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
}

// Store fetches img, unless it comes with its data, and stores it with its renditions. The
// result is img without data; on success with addresses ([article.MediaScheme] and the
// object's key), on failure with its Fault.
//
// A [*PermanentError] says that trying again will not help. Any other error may pass;
// [objects.ErrUnavailable] among them says that nothing can be stored at all at the moment.
// When ctx ends, the work goes on for those who ask again.
func (s *Store) Store(ctx context.Context, img events.Image) (article.Image, error) {
	start := time.Now()
	out := article.Image{Image: img}
	out.Data = nil
	p, err := s.store(ctx, img)
	s.metrics.done(start, err)
	if err != nil {
		out.Fault = err.Error()
		return out, fmt.Errorf("store picture %s: %w", name(img), err)
	}
	out.SHA256, out.Original, out.Renditions = p.SHA256, p.Original, p.Renditions
	return out, nil
}

func (s *Store) store(ctx context.Context, img events.Image) (*stored, error) {
	if len(img.Data) > 0 {
		if n := int64(len(img.Data)); n > s.o.MaxBytes {
			return nil, &PermanentError{fmt.Errorf("picture of %d bytes, at most %d", n, s.o.MaxBytes)}
		}
		return s.keep(ctx, img.Data)
	}
	return s.shared(ctx, "url."+hash([]byte(img.URL)), func(ctx context.Context) (*stored, error) {
		return s.fromAddress(ctx, img.URL)
	})
}

// keep stores a picture's file, unless it is stored already.
func (s *Store) keep(ctx context.Context, data []byte) (*stored, error) {
	sum := hash(data)
	return s.shared(ctx, "sha."+sum, func(ctx context.Context) (*stored, error) {
		known, err := s.find(ctx, sum)
		if err != nil {
			return nil, err
		}
		if known != nil {
			s.metrics.reused.Inc()
			return known, nil
		}
		return s.make(ctx, sum, data)
	})
}

// find returns the picture of that hash, nil if it has to be made. The index may be ahead of
// the bucket, when that was restored or emptied: nothing may be shown that is not there. The
// original is the last object of a picture that is stored, so it stands for all.
func (s *Store) find(ctx context.Context, sum string) (*stored, error) {
	p, err := s.index.picture(ctx, sum)
	if err != nil || p == nil {
		return nil, err
	}
	_, err = s.o.Objects.Stat(ctx, p.key(p.Original))
	if errors.Is(err, objects.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// make renders a picture and stores its objects: the renditions, then the original, then the
// entry in the index. A crash in between leaves objects that the next attempt writes again,
// byte by byte the same.
func (s *Store) make(ctx context.Context, sum string, data []byte) (*stored, error) {
	start := time.Now()
	pic, err := picture.Open(data, s.o.Limits)
	if err != nil {
		return nil, classify(err)
	}
	renditions, err := s.render(ctx, pic)
	if err != nil {
		return nil, classify(err)
	}
	p := &stored{SHA256: sum, Forms: forms(s.o.Widths)}
	if err := s.putRenditions(ctx, p, renditions); err != nil {
		return nil, err
	}
	p.Original = events.Rendition{
		URL:       p.address("original." + pic.Format.Ext()),
		MediaType: string(pic.Format), Width: pic.Width, Height: pic.Height, Size: int64(len(pic.Original)),
	}
	if err := s.put(ctx, p.key(p.Original), p.Original.MediaType, pic.Original); err != nil {
		return nil, err
	}
	if err := s.index.putPicture(ctx, p); err != nil {
		return nil, err
	}
	s.metrics.stored.Inc()
	s.o.Log.Info().Str("sha256", sum).Str("media_type", p.Original.MediaType).
		Int("width", p.Original.Width).Int("height", p.Original.Height).
		Int("bytes", len(data)).Dur("took", time.Since(start)).Msg("picture stored")
	return p, nil
}

// putRenditions stores renditions, and notes them in p.
func (s *Store) putRenditions(ctx context.Context, p *stored, renditions []picture.Rendition) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(maxPuts)
	for _, r := range renditions {
		file := events.Rendition{
			URL:       p.address(fmt.Sprintf("w%d.%s", r.Width, r.Format.Ext())),
			MediaType: string(r.Format), Width: r.Width, Height: r.Height, Size: int64(len(r.Data)),
		}
		p.Renditions = append(p.Renditions, file)
		g.Go(func() error { return s.put(gctx, p.key(file), file.MediaType, r.Data) })
	}
	return g.Wait()
}

// render waits for memory first.
func (s *Store) render(ctx context.Context, pic *picture.Picture) ([]picture.Rendition, error) {
	weight := min(pic.Memory, s.o.Decoding)
	if err := s.decoding.Acquire(ctx, weight); err != nil {
		return nil, fmt.Errorf("wait for %d bytes of memory to decode: %w", weight, err)
	}
	defer s.decoding.Release(weight)
	return pic.Render(ctx, s.o.Widths)
}

func (s *Store) put(ctx context.Context, key, mediaType string, body []byte) error {
	_, err := s.o.Objects.Put(ctx, key, body, objects.Meta{ContentType: mediaType, CacheControl: cacheControl})
	return err
}

var errClosed = errors.New("picture store is closed")

// shared does work once for all who ask for key at the same time. A caller whose context ends
// stops waiting.
func (s *Store) shared(ctx context.Context, key string, work func(context.Context) (*stored, error)) (*stored, error) {
	ch := s.flights.DoChan(key, func() (any, error) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, errClosed
		}
		s.running.Add(1)
		s.mu.Unlock()
		defer s.running.Done()
		ctx, cancel := context.WithTimeout(s.ctx, jobTimeout)
		defer cancel()
		return work(ctx)
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*stored), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
