package media

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/outbound"
)

// bucketScheme begins the address of an object in a bucket: s3://bucket/key.
const bucketScheme = "s3://"

// Bucket is one that pictures may be taken from.
type Bucket interface {
	Get(ctx context.Context, key string, maxBytes int64) (objects.Object, error)
	Stat(ctx context.Context, key string) (objects.Info, error)
}

// copy is [Store.fetch] for objects in buckets.
func (s *Store) copy(ctx context.Context, w wanted, address string, src *source, held *stored) (*stored, error) {
	name, key, err := bucketAndKey(address)
	if err != nil {
		return nil, err
	}
	bucket := s.o.Buckets[name]
	if bucket == nil {
		return nil, &PermanentError{fmt.Errorf("bucket %q is not one that pictures may be taken from", name)}
	}
	info, err := bucket.Stat(ctx, key)
	if err != nil {
		return nil, bucketError(err)
	}
	if info.Size > w.maxBytes {
		return nil, &PermanentError{fmt.Errorf("%w: %d bytes, at most %d", outbound.ErrTooLarge, info.Size, w.maxBytes)}
	}
	next := source{URL: address, Checked: time.Now(), ETag: validator(info.ETag)}
	p := held
	if src == nil || src.ETag == "" || src.ETag != next.ETag {
		release, err := s.memory(ctx, s.bodies, min(info.Size, s.o.Bodies), "fetch")
		if err != nil {
			return nil, err
		}
		defer release()
		o, err := bucket.Get(ctx, key, w.maxBytes)
		if err != nil {
			return nil, bucketError(err)
		}
		s.metrics.fetched.Inc()
		next.ETag = validator(o.ETag)
		if p, err = s.keep(ctx, w, o.Body); err != nil {
			return nil, err
		}
	} else {
		s.metrics.reused.Inc()
	}
	next.SHA256 = p.SHA256
	return p, s.index.putSource(ctx, next)
}

// bucketAndKey reads s3://bucket/key.
func bucketAndKey(address string) (bucket, key string, err error) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(address, bucketScheme), "/")
	if key, err = url.PathUnescape(key); err == nil {
		err = objects.CheckKey(key)
	}
	if err != nil {
		return "", "", &PermanentError{fmt.Errorf("address %q: %w", address, err)}
	}
	return bucket, key, nil
}

// bucketError tells what will stay from what may pass. A foreign bucket that is away is not the
// store's own being away, for which everything would wait.
func bucketError(err error) error {
	switch {
	case errors.Is(err, objects.ErrNotFound), errors.Is(err, objects.ErrTooLarge):
		return &PermanentError{err}
	case errors.Is(err, objects.ErrUnavailable):
		return errors.New(err.Error())
	}
	return err
}
