package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MaxEventBytes is the size of the largest event. NATS servers take 1 MiB unless they are
	// told otherwise (max_payload); Loa's embedded one takes this much.
	MaxEventBytes = 8 << 20
	// MaxDepth is how deep the JSON of an event may nest; the schemas need six levels.
	MaxDepth = 32
	// maxValues bounds the memory that an event of tiny values takes once it is read (8 MiB of
	// "[]," would be 200 MB). A full article has some 3,000.
	maxValues = 20_000
	// maxNumber is the length, in bytes, of the longest number.
	maxNumber = 64
)

const strictly = "JSON as in RFC 7493 (I-JSON)"

// readStrict reads JSON as RFC 7493 has it: UTF-8, every name once, no lone surrogates; not
// deeper than [MaxDepth]. It gives map[string]any, []any, string, json.Number, bool and nil. A
// fault's path is put behind prefix.
func readStrict(data []byte, prefix string) (any, error) {
	if len(data) > MaxEventBytes {
		return nil, invalid(prefix, fmt.Sprintf("%d bytes", len(data)), fmt.Sprintf("at most %d bytes", MaxEventBytes))
	}
	r := strictReader{dec: jsontext.NewDecoder(bytes.NewBuffer(data))}
	v, err := r.value()
	if err == nil {
		if _, err = r.dec.ReadToken(); err == io.EOF {
			return v, nil
		}
		if err == nil {
			err = errors.New("something behind the end of the JSON")
		}
	}
	if err == io.EOF {
		return nil, invalid(prefix, nothing, strictly)
	}

	offset, at := r.dec.InputOffset(), r.dec.StackPointer()
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		offset, at, err = syntax.ByteOffset, syntax.JSONPointer, syntax.Err
	}
	var tokens []string
	for t := range at.Tokens() {
		tokens = append(tokens, t)
	}
	return nil, invalid(prefix+pointer(tokens...), cut(printable(err.Error()))+" "+position(data, offset), strictly)
}

// position puts an offset into words.
func position(data []byte, offset int64) string {
	before := data[:min(max(offset, 0), int64(len(data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("at line %d, byte %d (offset %d)", line, column, len(before))
}

type strictReader struct {
	dec    *jsontext.Decoder
	values int
}

func (r *strictReader) value() (any, error) {
	if r.values++; r.values > maxValues {
		return nil, fmt.Errorf("more than %d values", maxValues)
	}
	tok, err := r.dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case '"':
		return tok.String(), nil
	case '0':
		return number(tok.String())
	case 't', 'f':
		return tok.Bool(), nil
	case '{':
		return r.object()
	case '[':
		return r.array()
	default: // null; the decoder lets a closing bracket stand only where it belongs
		return nil, nil
	}
}

func (r *strictReader) object() (any, error) {
	if err := r.depth(); err != nil {
		return nil, err
	}
	m := make(map[string]any)
	for r.dec.PeekKind() != '}' {
		name, err := r.dec.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		if m[key], err = r.value(); err != nil {
			return nil, err
		}
	}
	_, err := r.dec.ReadToken()
	return m, err
}

func (r *strictReader) array() (any, error) {
	if err := r.depth(); err != nil {
		return nil, err
	}
	a := []any{}
	for r.dec.PeekKind() != ']' {
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		a = append(a, v)
	}
	_, err := r.dec.ReadToken()
	return a, err
}

func (r *strictReader) depth() error {
	if r.dec.StackDepth() > MaxDepth {
		return fmt.Errorf("more than %d levels", MaxDepth)
	}
	return nil
}

// number refuses what a 64-bit float cannot hold: exact arithmetic on 1e999999999 would take
// all memory.
func number(s string) (any, error) {
	if len(s) > maxNumber {
		return nil, fmt.Errorf("a number of %d digits", len(s))
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f == 0 && strings.ContainsAny(s, "eE") {
		return nil, fmt.Errorf("the number %s, out of range", s)
	}
	return json.Number(s), nil
}
