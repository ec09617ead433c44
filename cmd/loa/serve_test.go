package main

import (
	"bytes"
	"encoding/json"
	stdlog "log"
	"testing"

	"github.com/rs/zerolog"
)

func TestWhatLibrariesPrintBecomesAnEvent(t *testing.T) {
	var out bytes.Buffer
	stdlog.New(libraries{zerolog.New(&out)}, "", 0).Print("Unsolicited response \"HTTP/1.1 200 OK\r\n\"\nand a line of its own")
	var event struct{ Level, Line, Message string }
	if err := json.Unmarshal(out.Bytes(), &event); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
		t.Fatalf("%q: %v", out.String(), err)
	}
	if event.Level != "debug" || event.Message != "said by a library" || event.Line == "" {
		t.Errorf("got %+v", event)
	}
}
