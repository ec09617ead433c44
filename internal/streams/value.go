package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// LatestValue reads a key of a bucket from the stream's leader, which is never behind: for
// those who will write it. The revision is what an Update of the key has to name: 0 for a key
// that never was; a key that was deleted has a revision, but no value.
func LatestValue(ctx context.Context, js jetstream.JetStream, bucket, key string) (value []byte, revision uint64, err error) {
	m, err := Leader(ctx, js, "KV_"+bucket, "$KV."+bucket+"."+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s of bucket %s: %w", key, bucket, err)
	}
	if deleted(m) {
		return nil, m.Sequence, nil
	}
	return m.Data, m.Sequence, nil
}

// deleted reports whether a bucket's message says that its key was deleted.
func deleted(m *jetstream.RawStreamMsg) bool {
	return m.Header.Get("KV-Operation") != "" || m.Header.Get("Nats-Marker-Reason") != ""
}
