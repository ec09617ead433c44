package bulletins_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

// A portal that shows what it was sent, as some do while they are being set up, must not get its
// own credentials written down on our side.
func TestSecretsThatAPortalEchoesAreNotWrittenDown(t *testing.T) {
	t.Parallel()
	s := started(t)
	const (
		token    = "ma-rieng-cua-quan"
		password = "mat-khau-cua-quan"
		key      = "khoa-trong-dia-chi"
	)
	basic := base64.StdEncoding.EncodeToString([]byte("loa:" + password))
	for name, status := range map[string]int{"tuchoi": http.StatusUnprocessableEntity, "hong": http.StatusInternalServerError} {
		_, url := serve(t, receiver.Options{Secrets: []string{secret.Reveal()}, Answer: func(_ int, req *http.Request) *receiver.Fault {
			_, auth, _ := strings.Cut(req.Header.Get("Authorization"), " ")
			return receiver.Status(status, "không nhận: "+strings.Join([]string{
				req.Header.Get("X-Token"), req.Header.Get("Authorization"), auth, secret.Reveal(),
				strings.TrimPrefix(secret.Reveal(), "whsec_"), req.RequestURI, req.URL.Query().Get("key"),
			}, " ")+"\x1b[31m\ndòng thứ hai")
		}})
		s.portal(t, portal.Portal{Name: name, URL: url + "?key=" + key, Secrets: []portal.Secret{secret},
			Headers: map[string]portal.Secret{"X-Token": token, "Authorization": portal.Secret("Basic " + basic)}})
		s.publish(t, text(name, 1))
	}
	loatest.Eventually(t, "one is set aside", func() bool { return len(s.dead(t)) > 0 })
	s.down(t, "hong")

	written := map[string]string{"the log": s.log.String()}
	for what, v := range map[string]any{
		"a dead letter": s.dead(t), "a state": s.portals.States(),
		"a receipt": []portal.Receipt{s.receipt(t, "tuchoi", "tuchoi"), s.receipt(t, "hong", "hong")},
	} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		written[what] = string(data)
	}
	for what, text := range written {
		if !strings.Contains(text, "không nhận: [secret]") {
			t.Errorf("%s does not tell what happened: %s", what, text)
		}
		for _, hidden := range []string{token, password, basic, key, secret.Reveal(), strings.TrimPrefix(secret.Reveal(), "whsec_"), "dòng thứ hai", `\u001b`, "v1,"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s tells %q: %s", what, hidden, text)
			}
		}
	}
}
