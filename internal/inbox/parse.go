package inbox

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/loa-syndication/loa/events"
)

// parse reads the events of a body, or lists all that is wrong with them.
func parse(mode contentMode, h http.Header, body []byte) ([]events.Event, *problem) {
	if mode == single {
		e, err := events.Parse(h, body)
		if err != nil {
			return nil, asInvalid(err, "")
		}
		return []events.Event{e}, nil
	}
	raw, p := split(body)
	if p != nil {
		return nil, p
	}
	list := make([]events.Event, len(raw))
	var all *problem
	for i, one := range raw {
		e, err := events.Parse(nil, one)
		if err == nil {
			list[i] = e
			continue
		}
		path := ""
		if len(raw) > 1 {
			path = "/" + strconv.Itoa(i)
		}
		p := asInvalid(err, path)
		if all == nil {
			all = p
			continue
		}
		all.Total += p.Total
		all.Errors = append(all.Errors, p.Errors[:min(len(p.Errors), events.MaxFaults-len(all.Errors))]...)
	}
	if all != nil {
		all.Detail += " Nothing of the batch was stored."
	}
	return list, all
}

// split takes a batch apart. Each event is held against the contract by itself, duplicate names and
// bad UTF-8 included.
func split(body []byte) ([]jsontext.Value, *problem) {
	const expected = "a list of events, as CloudEvents' batch format has it"
	notJSON := func(value string) *problem {
		return &problem{Status: http.StatusUnprocessableEntity, Detail: "The batch cannot be read.", Errors: []events.Fault{{Value: value, Expected: expected}}}
	}
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() != '[' {
		return nil, notJSON("something else")
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, notJSON(short(err.Error()))
	}
	var raw []jsontext.Value
	for d.PeekKind() != ']' {
		v, err := d.ReadValue()
		if err != nil {
			return nil, notJSON(fmt.Sprintf("after %d events: %s", len(raw), short(err.Error())))
		}
		if len(raw) == MaxBatch {
			return nil, &problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("A batch has at most %d events.", MaxBatch),
				Errors: []events.Fault{{Value: "more events", Expected: fmt.Sprintf("at most %d", MaxBatch)}}}
		}
		raw = append(raw, v.Clone())
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, notJSON(short(err.Error()))
	}
	if rest := bytes.TrimSpace(body[d.InputOffset():]); len(rest) > 0 {
		return nil, notJSON("something after the list")
	}
	if len(raw) == 0 {
		return nil, notJSON("an empty list")
	}
	return raw, nil
}

// asInvalid is the answer to what breaks the contract. There is no other error of [events.Parse].
func asInvalid(err error, path string) *problem {
	var invalid *events.InvalidError
	if !errors.As(err, &invalid) {
		invalid = &events.InvalidError{Faults: []events.Fault{{Value: short(err.Error()), Expected: "an event"}}, Total: 1}
	}
	return invalidEvent(invalid, path)
}

func invalidEvent(invalid *events.InvalidError, path string) *problem {
	p := &problem{Status: http.StatusUnprocessableEntity, Detail: "What is listed breaks the contract; sending the same again cannot help.", Total: invalid.Total}
	for _, f := range invalid.Faults {
		f.Path = path + f.Path
		p.Errors = append(p.Errors, f)
	}
	return p
}
