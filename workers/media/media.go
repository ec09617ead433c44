// Package media stores the pictures of articles, and the files that go with them: images → S3.
//
// It is given a picture as an event names it, by address, inline, or in somebody's bucket, and
// returns it as an article shows it: with its SHA-256, the stored original and its renditions.
//
//	events.Image ──fetch──▶ bytes ──picture.Open, Render──▶ objects ──▶ article.Image
//	      │ unchanged?         │ held already?                  │
//	      └──── index ─────────┴────────── index ◀──────────────┘
//
// Objects are named after the SHA-256 of the original as it was received:
//
//	media/<sha256>/original.jpg             without private metadata, else as received
//	media/<sha256>/w320.jpg, w320.webp, ... 320, 640 and 1280 pixels wide by default, upright
//	media/<sha256>/w320-1x1-50-33.jpg, ...  cut to a square, about the point 50 % from the left
//	                                        and 33 % from the top; 16x9 likewise
//	media/<sha256>/file.pdf                 a file that is no picture, as received
//
// HEIC and AVIF are made JPEG first, by libvips in a process of its own (package picture).
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
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	// collectAfter is how much pictures may leave behind, in bytes, until it is collected: one of 12
	// megapixels, or ten common ones. The runtime would wait until that is twice the files that
	// are being held. There are few pointers in those, so that a collection takes little.
	collectAfter = 64 << 20
	// jobTimeout bounds the work on one picture: fetching (30 s), waiting for memory,
	// decoding (20 s), storing (1 min a request).
	jobTimeout = 3 * time.Minute
	// maxPuts is how many objects of one picture are stored at once.
	maxPuts = 4
	// cacheControl: an object's name is made from its content.
	cacheControl = "public, max-age=31536000, immutable"
)

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
	// Credentials are sent to the sites that they are for, and nowhere else.
	Credentials []Credential
	// Buckets are those that pictures may be taken from, by the name in s3://name/key.
	Buckets map[string]Bucket
	// Forms are what is made of a picture; [picture.DefaultForms] when there are no widths.
	Forms picture.Forms
	// Limits of a picture; see there for the defaults. Width is the greatest of Forms'.
	Limits picture.Limits
	// Convert makes JPEG of HEIC and AVIF; nil: they are refused.
	Convert *picture.Converter
	// MaxBytes bounds a picture's file, MaxFile any other; 32 MiB when 0.
	MaxBytes, MaxFile int64
	// PerHost bounds the requests to one host that are under way at once; 6 when 0.
	PerHost int
	// Decoding and Bodies bound, in bytes, the memory of all pictures that are being decoded
	// and the files that are being held; 256 MiB each when 0.
	Decoding, Bodies int64
	// Processors is how many pictures are rendered at once; as many as threads run Go code when 0.
	Processors int
	Registerer prometheus.Registerer
	Log        zerolog.Logger
}

// Store stores pictures. It may be used by many goroutines at once.
type Store struct {
	o       Options
	index   index
	metrics *metrics

	// flights coalesces work on the same address and on the same bytes.
	flights singleflight.Group
	// hosts, bodies, decoding and processors are acquired in this order, the middle two by bytes.
	hosts            hosts
	bodies, decoding *semaphore.Weighted
	processors       *semaphore.Weighted
	// left is about what pictures have left to be collected, in bytes.
	left atomic.Int64

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
	o.MaxBytes, o.MaxFile = cmp.Or(o.MaxBytes, maxBytesDefault), cmp.Or(o.MaxFile, maxBytesDefault)
	if len(o.Forms.Widths) == 0 {
		o.Forms.Widths = picture.DefaultForms().Widths
	}
	if len(o.Forms.Formats) == 0 {
		o.Forms.Formats = picture.DefaultForms().Formats
	}
	o.Limits.Width = slices.Max(o.Forms.Widths)
	o.Decoding = cmp.Or(o.Decoding, decodingDefault)
	o.Bodies = cmp.Or(o.Bodies, bodiesDefault)
	s := &Store{
		o:        o,
		index:    index{o.Index},
		metrics:  newMetrics(o.Registerer),
		hosts:    hosts{most: int64(cmp.Or(o.PerHost, perHostDefault)), slots: map[string]*hostSlots{}},
		bodies:   semaphore.NewWeighted(o.Bodies),
		decoding: semaphore.NewWeighted(o.Decoding),
		// More pictures at once than there are processors take memory, and none is ready earlier.
		processors: semaphore.NewWeighted(int64(cmp.Or(o.Processors, runtime.GOMAXPROCS(0)))),
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
	out.Thumbhash, out.Colour = p.Thumbhash, p.Colour
	if len(s.o.Forms.Crops) > 0 {
		out.Crops = p.Crops[focal(img).String()]
	}
	return out, nil
}

func (s *Store) store(ctx context.Context, img events.Image) (*stored, error) {
	about := focal(img)
	p, err := s.whole(ctx, img, about)
	if err != nil || len(s.o.Forms.Crops) == 0 || p.Crops[about.String()] != nil {
		return p, err
	}
	return s.shared(ctx, "crop."+p.SHA256+"."+about.String(), func(ctx context.Context) (*stored, error) {
		return s.crop(ctx, p.SHA256, about)
	})
}

// whole stores the picture, if it is not stored, cropped about one focal point.
func (s *Store) whole(ctx context.Context, img events.Image, about picture.Focal) (*stored, error) {
	w := s.pictures(about)
	if len(img.Data) > 0 {
		if n := int64(len(img.Data)); n > w.maxBytes {
			return nil, &PermanentError{fmt.Errorf("picture of %d bytes, at most %d", n, w.maxBytes)}
		}
		return s.keep(ctx, w, img.Data)
	}
	return s.from(ctx, w, img.URL)
}

func focal(img events.Image) picture.Focal {
	if img.Focal == nil {
		return picture.Middle
	}
	return picture.FocalAt(img.Focal.X, img.Focal.Y)
}

// wanted is how a kind of thing is fetched and stored.
type wanted struct {
	kind     string // in the index
	accept   string
	maxBytes int64
	make     func(ctx context.Context, sum string, data []byte) (*stored, error)
}

func (s *Store) pictures(about picture.Focal) wanted {
	return wanted{kind: "sha", accept: accept, maxBytes: s.o.MaxBytes,
		make: func(ctx context.Context, sum string, data []byte) (*stored, error) {
			return s.make(ctx, sum, data, about)
		}}
}

// from stores what is at an address.
func (s *Store) from(ctx context.Context, w wanted, address string) (*stored, error) {
	return s.shared(ctx, w.kind+".url."+hash([]byte(address)), func(ctx context.Context) (*stored, error) {
		return s.fromAddress(ctx, w, address)
	})
}

// keep stores a file, unless it is stored already.
func (s *Store) keep(ctx context.Context, w wanted, data []byte) (*stored, error) {
	sum := hash(data)
	return s.shared(ctx, w.kind+"."+sum, func(ctx context.Context) (*stored, error) {
		known, err := s.find(ctx, w.kind, sum)
		if err != nil {
			return nil, err
		}
		if known != nil {
			s.metrics.reused.Inc()
			return known, nil
		}
		return w.make(ctx, sum, data)
	})
}

// find returns the picture or file of that hash, nil if it has to be made. The index may be ahead of
// the bucket, when that was restored or emptied: nothing may be shown that is not there. The
// original is the last object of a picture that is stored, so it stands for all.
func (s *Store) find(ctx context.Context, kind, sum string) (*stored, error) {
	p, err := s.index.stored(ctx, kind, sum)
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
func (s *Store) make(ctx context.Context, sum string, data []byte, about picture.Focal) (*stored, error) {
	start := time.Now()
	forms := s.o.Forms
	forms.Focal = about
	pic, err := s.open(ctx, data)
	if err != nil {
		return nil, classify(err)
	}
	made, err := s.render(ctx, pic, forms)
	if err != nil {
		return nil, err
	}
	p := &stored{SHA256: sum, Forms: forms.String(), Thumbhash: made.Placeholder.Thumbhash, Colour: made.Placeholder.Colour}
	if err := s.putRenditions(ctx, p, made.Renditions, about); err != nil {
		return nil, err
	}
	p.Original = events.Rendition{
		URL:       p.address("original." + pic.Format.Ext()),
		MediaType: string(pic.Format), Width: pic.Width, Height: pic.Height, Size: int64(len(pic.Original)),
	}
	if err := s.put(ctx, p.key(p.Original), p.Original.MediaType, pic.Original); err != nil {
		return nil, err
	}
	if err := s.index.putStored(ctx, "sha", p); err != nil {
		return nil, err
	}
	s.metrics.stored.Inc()
	s.o.Log.Info().Str("sha256", sum).Str("media_type", p.Original.MediaType).
		Int("width", p.Original.Width).Int("height", p.Original.Height).
		Int("bytes", len(data)).Dur("took", time.Since(start)).Msg("picture stored")
	return p, nil
}

// render waits for its turn first.
func (s *Store) render(ctx context.Context, pic *picture.Picture, forms picture.Forms) (*picture.Rendered, error) {
	release, err := s.turn(ctx, pic)
	if err != nil {
		return nil, err
	}
	defer release()
	made, err := pic.Render(ctx, forms)
	if err != nil {
		return nil, classify(err)
	}
	s.metrics.rendered.Inc()
	return made, nil
}

// open examines a picture, having made JPEG of what only libvips reads.
func (s *Store) open(ctx context.Context, data []byte) (*picture.Picture, error) {
	if picture.NeedsConversion(data) {
		release, err := s.memory(ctx, s.decoding, min(picture.ConverterMemory, s.o.Decoding), "convert")
		if err != nil {
			return nil, err
		}
		data, err = s.o.Convert.JPEG(ctx, data, s.o.Limits)
		release()
		if err != nil {
			return nil, err
		}
	}
	return picture.Open(data, s.o.Limits)
}

// putRenditions stores renditions, and notes them in p: crops under their focal point.
func (s *Store) putRenditions(ctx context.Context, p *stored, all []picture.Rendition, about picture.Focal) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(maxPuts)
	var crops []article.Crop
	for _, r := range all {
		file := events.Rendition{URL: p.address(fileName(r, about)),
			MediaType: string(r.Format), Width: r.Width, Height: r.Height, Size: int64(len(r.Data))}
		if r.Crop == "" {
			p.Renditions = append(p.Renditions, file)
		} else {
			crops = append(crops, article.Crop{Ratio: string(r.Crop), Rendition: file})
		}
		g.Go(func() error { return s.put(gctx, p.key(file), file.MediaType, r.Data) })
	}
	if len(crops) > 0 {
		p.Crops = maps.Clone(p.Crops)
		if p.Crops == nil {
			p.Crops = map[string][]article.Crop{}
		}
		p.Crops[about.String()] = crops
	}
	return g.Wait()
}

// fileName is that of a rendition's object.
func fileName(r picture.Rendition, about picture.Focal) string {
	name := fmt.Sprintf("w%d", r.Width)
	if r.Crop != "" {
		name += "-" + strings.ReplaceAll(string(r.Crop), ":", "x") + "-" + about.String()
	}
	return name + "." + r.Format.Ext()
}

// crop makes the crops of a stored picture about a focal point that it had not been given yet.
func (s *Store) crop(ctx context.Context, sum string, about picture.Focal) (*stored, error) {
	p, err := s.index.stored(ctx, "sha", sum)
	if err != nil || p == nil || p.Crops[about.String()] != nil {
		if err == nil && p == nil {
			err = fmt.Errorf("crop picture %s: it is gone", sum)
		}
		return p, err
	}
	pic, release, err := s.reopen(ctx, p)
	if err != nil {
		return nil, err
	}
	defer release()
	forms := s.o.Forms
	forms.Focal = about
	decoded, err := s.turn(ctx, pic)
	if err != nil {
		return nil, err
	}
	made, err := pic.RenderCrops(ctx, forms)
	decoded()
	if err != nil {
		return nil, classify(err)
	}
	s.metrics.rendered.Inc()
	if err := s.putRenditions(ctx, p, made, about); err != nil {
		return nil, err
	}
	return p, s.index.putStored(ctx, "sha", p)
}

// reopen reads the original of a stored picture back. Until release, the memory that it takes counts.
func (s *Store) reopen(ctx context.Context, p *stored) (pic *picture.Picture, release func(), err error) {
	free, err := s.memory(ctx, s.bodies, min(max(p.Original.Size, 1), s.o.Bodies), "read")
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			free()
		}
	}()
	original, err := s.o.Objects.Get(ctx, p.key(p.Original), objects.MaxBody)
	if errors.Is(err, objects.ErrNotFound) {
		return nil, nil, &PermanentError{err}
	}
	if err != nil {
		return nil, nil, err
	}
	if pic, err = picture.Open(original.Body, s.o.Limits); err != nil {
		return nil, nil, classify(err)
	}
	return pic, free, nil
}

// turn waits for the memory that decoding a picture takes, and for a processor.
func (s *Store) turn(ctx context.Context, pic *picture.Picture) (release func(), err error) {
	free, err := s.memory(ctx, s.decoding, min(pic.Memory, s.o.Decoding), "decode")
	if err != nil {
		return nil, err
	}
	if err := s.processors.Acquire(ctx, 1); err != nil {
		free()
		return nil, fmt.Errorf("wait for a processor to decode: %w", err)
	}
	return func() {
		s.processors.Release(1)
		free()
		if s.left.Add(pic.Memory) >= collectAfter {
			s.left.Store(0)
			runtime.GC()
		}
	}, nil
}

// memory waits until so many bytes of a bound are free.
func (s *Store) memory(ctx context.Context, of *semaphore.Weighted, bytes int64, to string) (release func(), err error) {
	if err := of.Acquire(ctx, bytes); err != nil {
		return nil, fmt.Errorf("wait for %d bytes of memory to %s: %w", bytes, to, err)
	}
	return func() { of.Release(bytes) }, nil
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
