package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/loa-syndication/loa/events"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldens are one bulletin of each kind.
func goldens() map[string]events.Bulletin {
	a := fullArticle()
	live := events.BulletinArticle{
		GUID: "urn:uuid:2c5ea4c0-4067-5a0b-8b1c-1d0f5f0f9a11", Site: a.Site, ID: a.ID, Version: 7, Revision: 1,
		Status: events.StatusLive, Title: a.Title, Summary: a.Summary, URL: a.URL, Language: "vi",
		SiteName: "Trang thông tin phường Hoa Mai", Authors: a.Authors, Categories: a.Categories, Tags: a.Tags,
		Urgency: 3, Published: a.Published, Updated: *a.Updated, ExpiresAt: a.ExpiresAt, Correction: a.Correction,
		Source: a.Source, Places: a.Places, Rights: a.Rights,
		Image: &events.BulletinImage{
			Rendition: events.Rendition{URL: "https://loa.example.vn/media/5d1f/original.jpg", MediaType: "image/jpeg", Width: 4000, Height: 3000, Size: 3104512},
			Alt:       "Tiêm cho trẻ", Caption: "Sáng 22/11.", Credit: "Trần Minh",
			Renditions: []events.Rendition{{URL: "https://loa.example.vn/media/5d1f/w320.webp", MediaType: "image/webp", Width: 320, Height: 240, Size: 14200}},
		},
	}
	gone := events.BulletinArticle{
		GUID: live.GUID, Site: a.Site, ID: a.ID, Version: 8, Status: events.StatusWithdrawn,
		Title: a.Title, URL: a.URL, Language: "vi", Published: a.Published, Updated: *a.Updated,
		Withdrawal: &events.BulletinWithdrawal{
			Reason: "Có thông báo mới thay thế.", RedirectURL: "https://hoamai.example.vn/tin/moi",
			WithdrawnAt: time.Date(2026, 12, 5, 9, 0, 0, 0, hanoi),
		},
	}
	at := time.Date(2026, 12, 5, 2, 0, 1, 0, time.UTC)
	return map[string]events.Bulletin{
		"bulletin-published": {Type: events.BulletinPublished, Timestamp: at, Data: live},
		"bulletin-withdrawn": {Type: events.BulletinWithdrawn, Timestamp: at, Data: gone},
		"bulletin-ping":      {Type: events.BulletinPing, Timestamp: at},
	}
}

func encodeBulletin(t testing.TB, b events.Bulletin) []byte {
	t.Helper()
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(b); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestBulletinsOnTheWireDoNotChange(t *testing.T) {
	schema := compiler(t).MustCompile(schemaBase + events.BulletinSchema)
	for name, b := range goldens() {
		got := encodeBulletin(t, b)
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s\n(go test ./events -update, if receivers can bear it)", file, got, want)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(want))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		read, err := events.ParseBulletin(want)
		if err != nil {
			t.Fatal(err)
		}
		if again := encodeBulletin(t, read); !bytes.Equal(again, want) {
			t.Errorf("%s read and written is\n%s", file, again)
		}
	}
}

func TestReceiversAreLenientToWhatIsNew(t *testing.T) {
	b, err := events.ParseBulletin([]byte(`{"type":"article.published","data":{"guid":"g","version":2,"new":{"x":1}},"later":true}`))
	if err != nil || b.Data.Version != 2 {
		t.Errorf("unknown fields: %+v, %v", b, err)
	}
	if b, err = events.ParseBulletin([]byte(`{"type":"digest.published","data":{}}`)); err != nil || b.Type != "digest.published" {
		t.Errorf("unknown type: %+v, %v", b, err)
	}
	for _, bad := range []string{``, `[]`, `{}`, `{"type":"article.published","data":{"guid":"g"}}`, `{"type":"article.withdrawn","data":{"version":1}}`,
		`{"type":"a","type":"b"}`, `{"type":"loa.ping"}}`, strings.Repeat("[", 100_000), strings.Repeat(" ", events.MaxBulletinBytes+1)} {
		if _, err := events.ParseBulletin([]byte(bad)); err == nil {
			t.Errorf("%.40q is taken", bad)
		}
	}
}

func TestNewerIsByVersionThenRevision(t *testing.T) {
	at := func(version, revision int64) events.BulletinArticle {
		return events.BulletinArticle{Version: version, Revision: revision}
	}
	for _, test := range []struct {
		a, b events.BulletinArticle
		want bool
	}{
		{at(2, 0), at(1, 9), true}, {at(1, 9), at(2, 0), false},
		{at(2, 1), at(2, 0), true}, {at(2, 0), at(2, 1), false}, {at(2, 1), at(2, 1), false},
	} {
		if got := test.a.Newer(test.b); got != test.want {
			t.Errorf("%d.%d newer than %d.%d: %t", test.a.Version, test.a.Revision, test.b.Version, test.b.Revision, got)
		}
	}
}

// The worked example of the Standard Webhooks documentation.
const (
	knownSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	knownID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	knownTime      = 1614265330
	knownBody      = `{"test": 2432232314}`
	knownSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

// signedHeader is the header of a bulletin that was signed with each of the secrets.
func signedHeader(t testing.TB, id string, at time.Time, body []byte, secrets ...string) http.Header {
	t.Helper()
	var signatures []string
	for _, secret := range secrets {
		s, err := events.Sign(secret, id, at, body)
		if err != nil {
			t.Fatal(err)
		}
		signatures = append(signatures, s)
	}
	return http.Header{
		"Webhook-Id": {id}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)},
		"Webhook-Signature": {strings.Join(signatures, " ")},
	}
}

func verifierAt(t testing.TB, now time.Time, secrets ...string) *events.Verifier {
	t.Helper()
	v, err := events.NewVerifier(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	v.Now = func() time.Time { return now }
	return v
}

func TestSignaturesAreThoseOfStandardWebhooks(t *testing.T) {
	at := time.Unix(knownTime, 0)
	got, err := events.Sign(knownSecret, knownID, at, []byte(knownBody))
	if err != nil || got != knownSignature {
		t.Errorf("known example: %q, %v", got, err)
	}
	if err := verifierAt(t, at, knownSecret).Verify(signedHeader(t, knownID, at, []byte(knownBody), knownSecret), []byte(knownBody)); err != nil {
		t.Error(err)
	}
	// A receiver that uses the standard's own library.
	secret, now := events.NewSecret(), time.Now()
	theirs, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Verify([]byte(knownBody), signedHeader(t, "id", now, []byte(knownBody), secret)); err != nil {
		t.Error(err)
	}
}

func TestVerifierTellsWhatIsWrong(t *testing.T) {
	now := time.Unix(knownTime, 0)
	secret, next, foreign := events.NewSecret(), events.NewSecret(), events.NewSecret()
	body := []byte(knownBody)
	good := func() http.Header { return signedHeader(t, "id", now, body, secret) }
	changed := func(name, value string) http.Header {
		h := good()
		h.Set(name, value)
		return h
	}
	missing := good()
	missing.Del(events.HeaderID)
	signature := good().Get(events.HeaderSignature)

	for name, test := range map[string]struct {
		header http.Header
		body   string
		want   error
	}{
		"good":                      {good(), knownBody, nil},
		"both secrets, foreign one": {signedHeader(t, "id", now, body, foreign, next, secret), knownBody, nil},
		"the next secret":           {signedHeader(t, "id", now, body, next), knownBody, nil},
		"an ed25519 one before it":  {changed(events.HeaderSignature, "v1a,AAAA "+signature), knownBody, nil},
		"five minutes ago":          {signedHeader(t, "id", now.Add(-events.Tolerance), body, secret), knownBody, nil},
		"in five minutes":           {signedHeader(t, "id", now.Add(events.Tolerance), body, secret), knownBody, nil},
		"longer ago":                {signedHeader(t, "id", now.Add(-events.Tolerance-time.Second), body, secret), knownBody, events.ErrTooOld},
		"further ahead":             {signedHeader(t, "id", now.Add(events.Tolerance+time.Second), body, secret), knownBody, events.ErrTooNew},
		"at the end of time":        {changed(events.HeaderTimestamp, "9223372036854775807"), knownBody, events.ErrTooNew},
		"before all time":           {changed(events.HeaderTimestamp, "-9223372036854775808"), knownBody, events.ErrTooOld},
		"no time at all":            {changed(events.HeaderTimestamp, "hôm nay"), knownBody, events.ErrTimestamp},
		"no id":                     {missing, knownBody, events.ErrUnsigned},
		"no headers":                {http.Header{}, knownBody, events.ErrUnsigned},
		"foreign secret":            {signedHeader(t, "id", now, body, foreign), knownBody, events.ErrSignature},
		"another body":              {good(), knownBody + " ", events.ErrSignature},
		"another id":                {changed(events.HeaderID, "id2"), knownBody, events.ErrSignature},
		"another time":              {changed(events.HeaderTimestamp, strconv.Itoa(knownTime+1)), knownBody, events.ErrSignature},
		"cut off":                   {changed(events.HeaderSignature, signature[:len(signature)-1]), knownBody, events.ErrSignature},
		"without version":           {changed(events.HeaderSignature, strings.TrimPrefix(signature, "v1,")), knownBody, events.ErrSignature},
		"under another version":     {changed(events.HeaderSignature, "v1a"+strings.TrimPrefix(signature, "v1")), knownBody, events.ErrSignature},
		"empty signature":           {changed(events.HeaderSignature, "v1,"), knownBody, events.ErrSignature},
	} {
		if err := verifierAt(t, now, secret, next).Verify(test.header, []byte(test.body)); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

func TestWeakSecretsAreRefusedAndNotTold(t *testing.T) {
	for _, secret := range []string{"", "whsec_", "whsec_c2hvcnQ=", "secret-secret-secret-secret", "whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
		"whsec_" + strings.Repeat("AAAA", 22), strings.TrimPrefix(knownSecret, "whsec_")} {
		_, err := events.NewVerifier(secret)
		_, err2 := events.Sign(secret, "id", time.Now(), nil)
		if err == nil || err2 == nil {
			t.Errorf("%q is taken", secret)
		} else if body := strings.TrimPrefix(secret, "whsec_"); body != "" && strings.Contains(err.Error(), body) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
	if _, err := events.NewVerifier(); err == nil {
		t.Error("no secret at all is taken")
	}
	for _, id := range []string{"", "a.b"} {
		if _, err := events.Sign(knownSecret, id, time.Now(), nil); err == nil {
			t.Errorf("id %q is signed", id)
		}
	}
}

func TestHandlerAnswers(t *testing.T) {
	secret := events.NewSecret()
	v, err := events.NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	bulletin := encodeBulletin(t, goldens()["bulletin-published"])
	for name, test := range map[string]struct {
		method string
		body   []byte
		secret string
		fail   error
		want   int
	}{
		"good":           {"POST", bulletin, secret, nil, 204},
		"not kept":       {"POST", bulletin, secret, errors.New("disk full: /srv/portal"), 500},
		"not a bulletin": {"POST", []byte(`{"type":`), secret, nil, 400},
		"foreign secret": {"POST", bulletin, events.NewSecret(), nil, 401},
		"too large":      {"POST", make([]byte, events.MaxBulletinBytes+1), secret, nil, 413},
		"GET":            {"GET", nil, secret, nil, 405},
	} {
		t.Run(name, func(t *testing.T) {
			var got []events.Bulletin
			var id string
			s := httptest.NewServer(events.Handler(v, func(ctx context.Context, b events.Bulletin) error {
				got, id = append(got, b), events.DeliveryID(ctx)
				return test.fail
			}))
			defer s.Close()
			r, err := http.NewRequest(test.method, s.URL, bytes.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header = signedHeader(t, "d-1", time.Now(), test.body, test.secret)
			res, err := s.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var answer bytes.Buffer
			if _, err := answer.ReadFrom(res.Body); err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != test.want {
				t.Errorf("got %d, want %d", res.StatusCode, test.want)
			}
			if strings.Contains(answer.String(), "/srv") {
				t.Errorf("the answer tells of the inside: %s", answer.String())
			}
			if called := len(got) == 1 && got[0].Data.Version == 7 && id == "d-1"; called != (test.want == 204 || test.want == 500) {
				t.Errorf("received %+v as %q", got, id)
			}
		})
	}
}
