package streams

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// IsConflict reports whether a write was refused because the subject's last message is another
// than was expected. A replicated stream says so by a code of its own.
func IsConflict(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	return api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// storeFailed is JetStream's error code when a limit of the stream is reached, and noResources when
// the server has no room for any stream.
const (
	storeFailed jetstream.ErrorCode = 10077
	noResources jetstream.ErrorCode = 10023
)

// IsFull reports whether a write was refused because the stream holds as much as it may.
func IsFull(err error) bool { return hasCode(err, storeFailed) }

// IsDiskFull reports whether a write was refused because the server has no more room.
func IsDiskFull(err error) bool { return hasCode(err, noResources) }

func hasCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}
