package receiver

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Fault is a scripted misbehaviour.
type Fault struct {
	// Keep has the bulletin received as usual first: what fails is the answer.
	Keep bool
	// Do answers in the place of the receiver.
	Do http.HandlerFunc
}

// Kept is f, but for the bulletin being received first.
func (f *Fault) Kept() *Fault { return &Fault{Keep: true, Do: f.Do} }

// Status answers with a status, a body, and headers in pairs of name and value.
func Status(code int, body string, header ...string) *Fault {
	return &Fault{Do: func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}}
}

// Redirect answers 307 with another address: a client that follows repeats its POST there.
func Redirect(to string) *Fault { return Status(http.StatusTemporaryRedirect, "", "Location", to) }

// Hang does not answer until the client has gone.
func Hang() *Fault {
	return &Fault{Do: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
}

// Drip answers with a status, and then one byte every pause until the client has gone.
func Drip(code int, pause time.Duration) *Fault {
	return &Fault{Do: func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(code)
		for http.NewResponseController(w).Flush() == nil {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(pause):
			}
			if _, err := w.Write([]byte(".")); err != nil {
				return
			}
		}
	}}
}

// Endless answers with a status and a body that goes on until the client has gone.
func Endless(code int) *Fault {
	return &Fault{Do: func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		block := []byte(strings.Repeat("endless ", 4<<10))
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}}
}

// Raw writes bytes in the place of an answer and closes the connection: garbage, half an answer,
// or, if there are none, nothing.
func Raw(answer string) *Fault {
	return &Fault{Do: func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler) // HTTP/2 has no such connection; the stream is cut off
		}
		defer conn.Close()
		fmt.Fprint(conn, answer)
	}}
}
