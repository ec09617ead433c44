package media

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gabriel-vasile/mimetype"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
)

// fileTypes are the files that are stored, by what their content is, with their endings. They
// are handed on as they came, and never opened.
var fileTypes = map[string]struct{ mediaType, ext string }{
	"application/pdf": {"application/pdf", "pdf"},
	docx:              {docx, "docx"},
	xlsx:              {xlsx, "xlsx"},
	pptx:              {pptx, "pptx"},
	"application/vnd.oasis.opendocument.text":        {"application/vnd.oasis.opendocument.text", "odt"},
	"application/vnd.oasis.opendocument.spreadsheet": {"application/vnd.oasis.opendocument.spreadsheet", "ods"},
	"application/msword":                             {"application/msword", "doc"},
	"audio/mpeg":                                     {"audio/mpeg", "mp3"},
	"audio/mp4":                                      {"audio/mp4", "m4a"},
	"audio/x-m4a":                                    {"audio/mp4", "m4a"},
	"video/mp4":                                      {"video/mp4", "mp4"},
	"video/x-m4v":                                    {"video/mp4", "mp4"},
}

// Office Open XML (ECMA-376).
const (
	docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	pptx = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
)

// undeclared are types that say nothing.
var undeclared = map[string]bool{"": true, "application/octet-stream": true, "binary/octet-stream": true}

// MismatchError says that a file is not what it was declared to be. It is offered to nobody.
type MismatchError struct{ Declared, Found string }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("file is %s, declared as %s", e.Found, e.Declared)
}

// StoreFile fetches an attachment and stores it as it is. The result has the file's own type and
// size and, on success, the object's address; on failure at's own address and its Fault. Errors
// are as in [Store.Store]; a permanent one leaves the file where it is, except that one which is
// not what it was declared to be, a [*MismatchError], is marked as refused.
func (s *Store) StoreFile(ctx context.Context, at events.Attachment) (article.Attachment, error) {
	start := time.Now()
	out := article.Attachment{Attachment: at}
	p, err := s.from(ctx, wanted{kind: "file", accept: "*/*", maxBytes: s.o.MaxFile, make: s.makeFile}, at.URL)
	err = agree(at.MediaType, p, err)
	s.metrics.done(start, err)
	if err != nil {
		var mismatch *MismatchError
		out.Fault, out.Refused = err.Error(), errors.As(err, &mismatch)
		return out, fmt.Errorf("store file %s: %w", shorten(at.URL), err)
	}
	out.Source, out.SHA256 = at.URL, p.SHA256
	out.URL, out.MediaType, out.Size = p.Original.URL, p.Original.MediaType, p.Original.Size
	return out, nil
}

// makeFile stores a file that is not stored yet.
func (s *Store) makeFile(ctx context.Context, sum string, data []byte) (*stored, error) {
	found := mimetype.Detect(data)
	mediaType, ext := fileType(found)
	if ext == "" {
		return nil, &PermanentError{&unknownType{found.String()}}
	}
	p := &stored{SHA256: sum}
	p.Original = events.Rendition{URL: p.address("file." + ext), MediaType: mediaType, Size: int64(len(data))}
	if err := s.put(ctx, p.key(p.Original), mediaType, data); err != nil {
		return nil, err
	}
	if err := s.index.putStored(ctx, "file", p); err != nil {
		return nil, err
	}
	s.metrics.stored.Inc()
	s.o.Log.Info().Str("sha256", sum).Str("media_type", mediaType).Int("bytes", len(data)).Msg("file stored")
	return p, nil
}

// fileType is the type that is stored, and its ending; empty for any other.
func fileType(m *mimetype.MIME) (mediaType, ext string) {
	if m == nil {
		return "", ""
	}
	for name, t := range fileTypes {
		if m.Is(name) { // or an alias of it
			return t.mediaType, t.ext
		}
	}
	return "", ""
}

// unknownType is a file of a kind that is not stored.
type unknownType struct{ found string }

func (e *unknownType) Error() string {
	return fmt.Sprintf("files of type %s are not stored", e.found)
}

// agree holds what was declared against what the content is. A file of a kind that is not stored
// may be what it says.
func agree(declared string, p *stored, err error) error {
	var unknown *unknownType
	found := ""
	switch {
	case errors.As(err, &unknown):
		found = unknown.found
	case err != nil:
		return err
	default:
		found = p.Original.MediaType
	}
	known, _ := fileType(mimetype.Lookup(declared))
	if known == found || undeclared[declared] || unknown != nil && known == "" {
		return err
	}
	return &PermanentError{&MismatchError{declared, found}}
}
