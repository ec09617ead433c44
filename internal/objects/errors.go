package objects

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"
)

var (
	// ErrNotFound says that there is no object of that key.
	ErrNotFound = errors.New("object not found")
	// ErrPrecondition says that the object is not, or no longer, as the [Condition] wants it.
	ErrPrecondition = errors.New("precondition failed")
	// ErrUnavailable says that the server could not be reached or could not do it now (network,
	// 5xx, throttling, full disk): the same call may succeed later. A write may have happened
	// all the same.
	ErrUnavailable = errors.New("object storage unavailable")
	// ErrTooLarge says that a body has more bytes than allowed.
	ErrTooLarge = errors.New("object too large")
	// ErrKey says that a key cannot be one.
	ErrKey = errors.New("invalid object key")
	// ErrMeta says that metadata cannot be stored.
	ErrMeta = errors.New("invalid object metadata")
)

// classify adds to err what a caller may do about it. The context is the one that the call
// was made with.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	// minio-go reports the end of the context in whichever way it meets it.
	if ctx.Err() != nil {
		if errors.Is(context.Cause(ctx), errCallTimeout) {
			return fmt.Errorf("%w: %w", ErrUnavailable, errCallTimeout)
		}
		return ctx.Err()
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		var badCertificate *tls.CertificateVerificationError
		if errors.As(err, &badCertificate) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch answer.Code {
	case minio.NoSuchKey:
		return ErrNotFound
	case minio.NoSuchBucket:
		return fmt.Errorf("there is no such bucket (any more): %w", err)
	}
	switch answer.StatusCode {
	case http.StatusPreconditionFailed:
		return ErrPrecondition
	case http.StatusNotImplemented:
		return err
	case http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusConflict: // a conditional write met another one: either may win yet
		return fmt.Errorf("%w: %w", ErrUnavailable, describe(answer))
	}
	if answer.StatusCode >= 500 {
		return fmt.Errorf("%w: %w", ErrUnavailable, describe(answer))
	}
	return describe(answer)
}

// describe names the status and code of an answer, where the message alone, which may be a
// proxy's page or nothing, says less.
func describe(answer minio.ErrorResponse) error {
	return fmt.Errorf("S3 answered %d %s: %w", answer.StatusCode, answer.Code, answer)
}

var errCallTimeout = fmt.Errorf("no answer within %s", callTimeout)

// limited bounds a call. Its end can be told from that of the caller's context.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, callTimeout, errCallTimeout)
}
