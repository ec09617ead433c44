package objects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// MaxBody is the most bytes that Put and PutIf take: bodies are held in memory, and sent in
// one request.
const MaxBody = 256 << 20

// Meta is what is stored beside an object's body.
type Meta struct {
	// ContentType is "application/octet-stream" when empty.
	ContentType     string
	CacheControl    string
	ContentEncoding string
	// User is metadata of our own: names of lower-case letters, digits and hyphens, values of
	// printable ASCII, 2 KiB in all.
	User map[string]string
}

// Info describes an object. Listings leave Meta empty.
type Info struct {
	Key string
	Meta
	// ETag identifies this state of the object; without quotes.
	ETag     string
	Modified time.Time
	// Size is in bytes.
	Size int64
}

// Object is an object with its body.
type Object struct {
	Info
	Body []byte
}

// Condition is what must hold for a [Store.PutIf] to happen: [IfMatch] or [IfAbsent].
type Condition struct {
	etag   string
	absent bool
}

// IfMatch wants the object to be in the state that had this ETag.
func IfMatch(etag string) Condition { return Condition{etag: etag} }

// IfAbsent wants that there is no such object.
func IfAbsent() Condition { return Condition{absent: true} }

// Put stores the object, whatever was there. It returns when the server has it for good.
func (s *Store) Put(ctx context.Context, key string, body []byte, meta Meta) (etag string, err error) {
	etag, err = s.put(ctx, s.patient, key, body, meta, minio.PutObjectOptions{})
	if err != nil {
		return "", fmt.Errorf("put object %s: %w", shorten(key), err)
	}
	return etag, nil
}

// PutIf stores the object if the condition holds, else the error is [ErrPrecondition]. After
// [ErrUnavailable] it is not known which; read the object to find out.
func (s *Store) PutIf(ctx context.Context, key string, body []byte, meta Meta, cond Condition) (etag string, err error) {
	var opts minio.PutObjectOptions
	switch {
	case cond.absent:
		opts.SetMatchETagExcept("*")
	case cond.etag != "":
		opts.SetMatchETag(cond.etag)
	default:
		return "", fmt.Errorf("put object %s: the condition is empty", shorten(key))
	}
	etag, err = s.put(ctx, s.hasty, key, body, meta, opts)
	if errors.Is(err, ErrNotFound) {
		err = ErrPrecondition // S3's answer to If-Match where there is no object
	}
	if err != nil {
		return "", fmt.Errorf("put object %s on a condition: %w", shorten(key), err)
	}
	return etag, nil
}

// put sends the body with its SHA-256 twice over: as what the request's signature covers,
// which every server checks, and as the object's checksum, which it keeps. minio-go's own ways
// (chunked signatures, checksum trailers) fail or leave traces on servers over plain HTTP.
func (s *Store) put(ctx context.Context, client minio.Core, key string, body []byte, meta Meta, opts minio.PutObjectOptions) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	if err := meta.check(); err != nil {
		return "", err
	}
	if len(body) > MaxBody {
		return "", fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, len(body), MaxBody)
	}
	sum := sha256.Sum256(body)
	opts.ContentType, opts.CacheControl, opts.ContentEncoding = meta.ContentType, meta.CacheControl, meta.ContentEncoding
	opts.DisableContentSha256 = true // of chunks
	opts.UserMetadata = map[string]string{"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:])}
	for name, value := range meta.User {
		opts.UserMetadata["X-Amz-Meta-"+name] = value
	}
	ctx, cancel := limited(ctx)
	defer cancel()
	info, err := client.PutObject(ctx, s.bucket, key, bytes.NewReader(body), int64(len(body)), "", hex.EncodeToString(sum[:]), opts)
	if err != nil {
		return "", classify(ctx, err)
	}
	return info.ETag, nil
}

// Get reads the object: body, ETag and metadata are of one state of it. A body of more than
// maxBytes gives [ErrTooLarge].
func (s *Store) Get(ctx context.Context, key string, maxBytes int64) (Object, error) {
	o, err := s.get(ctx, key, maxBytes)
	if err != nil {
		return Object{}, fmt.Errorf("get object %s: %w", shorten(key), err)
	}
	return o, nil
}

func (s *Store) get(ctx context.Context, key string, maxBytes int64) (Object, error) {
	if err := CheckKey(key); err != nil {
		return Object{}, err
	}
	ctx, cancel := limited(ctx)
	defer cancel()
	body, oi, _, err := s.patient.GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return Object{}, classify(ctx, err)
	}
	defer body.Close()
	switch {
	case oi.Size < 0:
		return Object{}, errors.New("S3 answered without a Content-Length")
	case oi.Size > maxBytes:
		return Object{}, fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, oi.Size, maxBytes)
	}
	o := Object{Info: infoOf(oi), Body: make([]byte, oi.Size)}
	o.Key = key
	if _, err := io.ReadFull(body, o.Body); err != nil {
		return Object{}, classify(ctx, err)
	}
	return o, nil
}

// Stat describes the object.
func (s *Store) Stat(ctx context.Context, key string) (Info, error) {
	info, err := s.stat(ctx, key)
	if err != nil {
		return Info{}, fmt.Errorf("stat object %s: %w", shorten(key), err)
	}
	return info, nil
}

func (s *Store) stat(ctx context.Context, key string) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	ctx, cancel := limited(ctx)
	defer cancel()
	oi, err := s.patient.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return Info{}, classify(ctx, err)
	}
	info := infoOf(oi)
	info.Key = key
	return info, nil
}

// Delete removes the object. That there is none is no error.
func (s *Store) Delete(ctx context.Context, key string) error {
	err := CheckKey(key)
	if err == nil {
		ctx, cancel := limited(ctx)
		defer cancel()
		err = classify(ctx, s.patient.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{}))
	}
	if err != nil {
		return fmt.Errorf("delete object %s: %w", shorten(key), err)
	}
	return nil
}

// List goes through the objects whose keys begin with prefix, in the order of their keys. An
// error ends it. Objects written meanwhile may be there or not.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for oi := range s.patient.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if oi.Err != nil {
				yield(Info{}, fmt.Errorf("list objects under %q: %w", shorten(prefix), classify(ctx, oi.Err)))
				return
			}
			if !yield(infoOf(oi), nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(Info{}, fmt.Errorf("list objects under %q: %w", shorten(prefix), err))
		}
	}
}

func infoOf(oi minio.ObjectInfo) Info {
	info := Info{
		Key:      oi.Key,
		ETag:     oi.ETag,
		Modified: oi.LastModified,
		Size:     oi.Size,
		Meta: Meta{
			ContentType:     oi.ContentType,
			CacheControl:    oi.Metadata.Get("Cache-Control"),
			ContentEncoding: oi.Metadata.Get("Content-Encoding"),
		},
	}
	for name, value := range oi.UserMetadata {
		if info.User == nil {
			info.User = make(map[string]string, len(oi.UserMetadata))
		}
		info.User[strings.ToLower(name)] = value
	}
	return info
}
