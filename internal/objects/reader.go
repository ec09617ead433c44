package objects

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"
)

// Reader reads one state of an object from any place: what http.ServeContent needs. It asks
// the server for what is read, from where it is read, and holds no more than a connection.
// When the object is replaced meanwhile, reading on from another place gives [ErrPrecondition].
type Reader struct {
	ctx   context.Context // of the request that is served
	store *Store
	info  Info
	pos   int64 // where the next Read begins
	// body is an answer being read, whose next byte is the one at pos; nil before the first
	// Read and after a Seek to elsewhere.
	body io.ReadCloser
}

// Reader describes the object and gives its contents. The context is for all of the reading.
func (s *Store) Reader(ctx context.Context, key string) (*Reader, Info, error) {
	info, err := s.stat(ctx, key)
	if err != nil {
		return nil, Info{}, fmt.Errorf("read object %s: %w", shorten(key), err)
	}
	return &Reader{ctx: ctx, store: s, info: info}, info, nil
}

// Read implements [io.Reader].
func (r *Reader) Read(p []byte) (int, error) {
	if r.pos >= r.info.Size {
		return 0, io.EOF
	}
	if r.body == nil {
		if err := r.open(); err != nil {
			return 0, r.fault(err)
		}
	}
	n, err := r.body.Read(p)
	r.pos += int64(n)
	if err != nil && r.pos < r.info.Size || err != nil && !errors.Is(err, io.EOF) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, r.fault(err)
	}
	return n, err
}

func (r *Reader) open() error {
	var opts minio.GetObjectOptions
	if err := opts.SetMatchETag(r.info.ETag); err != nil {
		return err
	}
	if r.pos > 0 {
		if err := opts.SetRange(r.pos, 0); err != nil { // to the end
			return err
		}
	}
	body, _, _, err := r.store.patient.GetObject(r.ctx, r.store.bucket, r.info.Key, opts)
	if err != nil {
		return err
	}
	r.body = body
	return nil
}

func (r *Reader) fault(err error) error {
	return fmt.Errorf("read object %s at byte %d: %w", shorten(r.info.Key), r.pos, classify(r.ctx, err))
}

// Seek implements [io.Seeker]. It asks the server nothing.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.info.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("read object %s: seek to byte %d", shorten(r.info.Key), offset)
	}
	if offset != r.pos {
		r.Close()
		r.pos = offset
	}
	return offset, nil
}

// Close gives the connection back.
func (r *Reader) Close() error {
	if r.body == nil {
		return nil
	}
	body := r.body
	r.body = nil
	return body.Close()
}
