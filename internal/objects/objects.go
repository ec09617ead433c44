// Package objects keeps objects in one S3 bucket.
//
// It is minio-go with meaning added: what may be a key, which errors pass by themselves and
// which do not, a body that arrives with the ETag it belongs to, writes that happen only if
// nobody else has written meanwhile. Every upload carries its SHA-256, which the server checks.
//
//	etag, err := store.Put(ctx, "feeds/an-khanh/feed.rss", rss, objects.Meta{ContentType: "application/rss+xml"})
//
//	o, err := store.Get(ctx, "feeds/an-khanh/index.json", maxIndex)
//	...
//	_, err = store.PutIf(ctx, o.Key, changed, o.Meta, objects.IfMatch(o.ETag))
//	if errors.Is(err, objects.ErrPrecondition) { /* somebody was faster: read again */ }
//
// A caller decides by three errors: [ErrNotFound], [ErrPrecondition] and [ErrUnavailable]. The
// last one means that trying again later will do; everything else is a mistake in the
// configuration or the program.
package objects

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

const (
	// DefaultRegion is what servers that have no regions call themselves.
	DefaultRegion = "us-east-1"

	// attempts is how often a request is tried before the error is ErrUnavailable. With
	// minio-go's pauses (200, 400, 800 ms at most) that takes 1.4 s when S3 answers 503 at once.
	attempts = 3
	// callTimeout bounds one call, all attempts and the body included.
	callTimeout = time.Minute
	// dialTimeout and headerTimeout bound parts of an attempt, so that a dead address or a
	// hanging server does not use the whole of callTimeout up.
	dialTimeout   = 5 * time.Second
	headerTimeout = 20 * time.Second
	// idlePerHost is how many connections are kept for reuse: all goes to one host, and a
	// worker has some tens of puts in flight.
	idlePerHost = 64
	// idleTimeout is shorter than what servers and load balancers commonly allow.
	idleTimeout = 30 * time.Second
	keepAlive   = 15 * time.Second
)

// Options say where the bucket is.
type Options struct {
	// Endpoint is host:port, or a host name.
	Endpoint  string
	AccessKey string
	SecretKey string
	Bucket    string
	// Region is "us-east-1" when empty.
	Region string
	// TLS is for HTTPS.
	TLS bool
}

// Store is one bucket. It may be used by many goroutines at once.
type Store struct {
	bucket string
	// patient tries a request several times; hasty once, for conditional writes: a second
	// attempt would find the effect of a first one whose answer was lost, and take it for
	// somebody else's.
	patient, hasty minio.Core
	transport      *http.Transport
}

// Open connects to the bucket, creates it if it is missing, and makes sure by a few requests
// that the server does what Loa needs: conditional writes, and metadata kept as given. The
// error is [ErrUnavailable] when the server cannot be asked at the moment.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := OpenForeign(o)
	if err != nil {
		return nil, err
	}
	if err := s.makeBucket(ctx, cmp.Or(o.Region, DefaultRegion)); err != nil {
		return nil, fmt.Errorf("open bucket %s at %s: %w", o.Bucket, o.Endpoint, err)
	}
	if err := s.check(ctx); err != nil {
		return nil, fmt.Errorf("open bucket %s at %s: %w", o.Bucket, o.Endpoint, err)
	}
	return s, nil
}

// OpenForeign is [Open] for a bucket of somebody else's, which is only read: it asks the server
// nothing.
func OpenForeign(o Options) (*Store, error) {
	o.Region = cmp.Or(o.Region, DefaultRegion)
	if err := s3utils.CheckValidBucketNameStrict(o.Bucket); err != nil {
		return nil, fmt.Errorf("open bucket %q: %w", o.Bucket, err)
	}
	s := &Store{bucket: o.Bucket, transport: &http.Transport{
		Proxy:                 nil, // the environment's proxy is not for storage
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   idlePerHost,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true, // an object is wanted as it is stored
	}}
	for core, n := range map[*minio.Core]int{&s.patient: attempts, &s.hasty: 1} {
		c, err := minio.NewCore(o.Endpoint, &minio.Options{
			Creds:      credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""),
			Secure:     o.TLS,
			Region:     o.Region,
			Transport:  s.transport,
			MaxRetries: n,
		})
		if err != nil {
			return nil, fmt.Errorf("open bucket %s at %q: %w", o.Bucket, o.Endpoint, err)
		}
		*core = *c
	}
	return s, nil
}

// Close closes the idle connections.
func (s *Store) Close() { s.transport.CloseIdleConnections() }

// Bucket is the bucket's name.
func (s *Store) Bucket() string { return s.bucket }

func (s *Store) makeBucket(ctx context.Context, region string) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	there, err := s.patient.BucketExists(ctx, s.bucket)
	switch {
	case minio.ToErrorResponse(err).StatusCode == http.StatusForbidden:
		return nil // the keys may be for objects alone; if they are wrong, the check hears why
	case err != nil:
		return classify(ctx, err)
	case there:
		return nil
	}
	err = s.patient.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: region})
	switch minio.ToErrorResponse(err).Code {
	case minio.BucketAlreadyOwnedByYou, minio.BucketAlreadyExists:
		return nil // another worker was faster; if it is not ours, the check will say so
	}
	return classify(ctx, err)
}

// checkPrefix is where Open tries the server out. A crash in between may leave an object of a
// few bytes there.
const checkPrefix = "loa-check/"

// check writes an object with and against conditions, and reads it back.
func (s *Store) check(ctx context.Context) error {
	key := checkPrefix + rand.Text()
	meta := Meta{ContentType: "text/plain", CacheControl: "no-store", User: map[string]string{"check": "kept"}}
	body := []byte("Loa makes sure that this server can do what it needs.\n")

	etag, err := s.PutIf(ctx, key, body, meta, IfAbsent())
	if err != nil {
		return fmt.Errorf("try a conditional write: %w", err)
	}
	defer s.Delete(ctx, key)
	const unfit = "the S3 server does not suit Loa: "
	if _, err := s.PutIf(ctx, key, nil, meta, IfAbsent()); !errors.Is(err, ErrPrecondition) {
		return refused(err, unfit+"it overwrites an object in spite of If-None-Match: *")
	}
	if _, err := s.PutIf(ctx, key, nil, meta, IfMatch("00000000000000000000000000000000")); !errors.Is(err, ErrPrecondition) {
		return refused(err, unfit+"it overwrites an object in spite of another ETag in If-Match")
	}
	if _, err := s.PutIf(ctx, key, body, meta, IfMatch(etag)); err != nil {
		return fmt.Errorf(unfit+"it does not overwrite an object whose ETag is that of If-Match: %w", err)
	}
	o, err := s.Get(ctx, key, int64(len(body)))
	if err != nil {
		return fmt.Errorf("read back a check object: %w", err)
	}
	if !bytes.Equal(o.Body, body) || o.ContentType != meta.ContentType || o.CacheControl != meta.CacheControl || o.User["check"] != "kept" {
		return errors.New(unfit + "it does not keep an object's content type, cache control and metadata as they were given")
	}
	return nil
}

// refused is what is wrong when a write that had to be refused was not: nothing more if it
// succeeded, or whatever else came in its way.
func refused(err error, fault string) error {
	if err == nil {
		return errors.New(fault)
	}
	return fmt.Errorf("try a conditional write: %w", err)
}
