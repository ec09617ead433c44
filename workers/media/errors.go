package media

import (
	"errors"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/workers/media/picture"
)

// PermanentError says that a picture cannot be had, however often it is tried: its format or
// size is not taken, its address is refused, or there is nothing. Its text says what, with
// value and limit, fit for an editor to read.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }
func (e *PermanentError) Unwrap() error { return e.Err }

// classify marks the errors that will not pass.
func classify(err error) error {
	var badPicture *picture.RefusedError
	var badAddress *outbound.RefusedError
	switch {
	case errors.As(err, &badPicture):
		return &PermanentError{badPicture}
	case errors.As(err, &badAddress):
		return &PermanentError{badAddress}
	case errors.Is(err, outbound.ErrTooLarge):
		return &PermanentError{err}
	}
	return err
}

// nameMax is in bytes: enough of an address to know it by in an error.
const nameMax = 200

// name is what an error calls a picture.
func name(img events.Image) string {
	s := img.URL
	if len(img.Data) > 0 {
		s = "inline " + img.ContentID
	}
	return shorten(s)
}

func shorten(s string) string {
	if len(s) > nameMax {
		s = s[:nameMax] + "..."
	}
	return s
}
