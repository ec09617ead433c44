package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/text/unicode/norm"

	"github.com/loa-syndication/loa/events"
)

const source = "https://cms.example.vn"

var hanoi = time.FixedZone("", 7*60*60)

// smallArticle has the required fields and no other.
func smallArticle() events.Article {
	return events.Article{
		Site: "phuong-hoa-mai", ID: "2026-1142", Version: 1,
		URL:       "https://hoamai.example.vn/tin/lich-tiem-chung",
		Title:     "Phường Hoa Mai thông báo lịch tiêm chủng",
		Body:      "<p>Trạm y tế tiêm chủng vào các sáng thứ Bảy.</p>",
		Published: time.Date(2026, 11, 24, 8, 30, 0, 0, hanoi),
	}
}

// fullArticle has every field.
func fullArticle() events.Article {
	at := func(day, hour int) *time.Time {
		t := time.Date(2026, 12, day, hour, 0, 0, 0, hanoi)
		return &t
	}
	degrees := func(f float64) *float64 { return &f }
	a := smallArticle()
	a.Version = 7
	a.Summary = "Trẻ dưới 5 tuổi được tiêm miễn phí."
	a.Language = "vi"
	a.Authors = []events.Author{{Name: "Nguyễn Thị Lan", Email: "lan@hoamai.example.vn", URL: "https://hoamai.example.vn/lan"}}
	a.Categories = []events.Category{{ID: "y-te", Label: "Y tế"}}
	a.Tags = []string{"tiêm chủng", "trẻ em"}
	a.Urgency = 3
	a.Updated, a.EmbargoUntil, a.ExpiresAt = at(1, 9), at(2, 0), at(31, 0)
	a.Correction = "Bản trước ghi nhầm giờ bắt đầu."
	a.Source = &events.Source{Name: "Sở Y tế", URL: "https://soyte.example.vn/881"}
	a.Places = []events.Place{{Name: "Phường Hoa Mai", Code: "26734", Latitude: degrees(10.7769), Longitude: degrees(106.7009)}}
	a.Rights = &events.Rights{Copyright: "© 2026 UBND phường Hoa Mai", UsageTerms: "Ghi rõ nguồn khi đăng lại."}
	a.Images = []events.Image{
		{URL: "https://hoamai.example.vn/anh/tiem.jpg", Role: events.RoleLead, Alt: "Tiêm cho trẻ", Caption: "Sáng 22/11.", Credit: "Trần Minh",
			Focal: &events.Focal{X: 0.5, Y: 0.33}},
		{URL: "s3://anh-goc/2026/tram.heic", Role: events.RoleGallery},
		{Data: []byte("\x89PNG\r\n\x1a\n"), ContentID: "anh-1", Role: events.RoleInline},
	}
	a.Attachments = []events.Attachment{{URL: "https://hoamai.example.vn/lich.pdf", Title: "Lịch tiêm", MediaType: "application/pdf", Size: 182044}}
	return a
}

func smallWithdrawal() events.Withdrawal {
	return events.Withdrawal{
		Site: "phuong-hoa-mai", ID: "2026-1142", Version: 8, Reason: "Đăng nhầm.", Status: events.WithdrawnGone,
		WithdrawnAt: time.Date(2026, 12, 5, 9, 0, 0, 0, hanoi),
	}
}

func encode(t testing.TB, e events.Event) []byte {
	t.Helper()
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// edited is the event of the full article after edit has changed its JSON.
func edited(t testing.TB, edit func(event, data map[string]any)) []byte {
	t.Helper()
	return editedEvent(t, events.NewPublished(source, fullArticle()), edit)
}

func editedEvent(t testing.TB, e events.Event, edit func(event, data map[string]any)) []byte {
	t.Helper()
	var event map[string]any
	d := json.NewDecoder(strings.NewReader(string(encode(t, e))))
	d.UseNumber()
	if err := d.Decode(&event); err != nil {
		t.Fatal(err)
	}
	edit(event, event["data"].(map[string]any))
	out, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// faultsOf are the faults that Parse finds, as text.
func faultsOf(t testing.TB, header map[string][]string, data []byte) []string {
	t.Helper()
	_, err := events.Parse(header, data)
	var bad *events.InvalidError
	if !errors.As(err, &bad) {
		t.Fatalf("got %v, want an InvalidError", err)
	}
	var texts []string
	for _, f := range bad.Faults {
		texts = append(texts, f.String())
	}
	return texts
}

func TestEveryFieldSurvivesTheWay(t *testing.T) {
	for _, sent := range []events.Event{
		events.NewPublished(source, smallArticle()),
		events.NewPublished(source, fullArticle()),
		events.NewWithdrawn(source, smallWithdrawal()),
	} {
		got, err := events.Parse(nil, encode(t, sent))
		if err != nil {
			t.Fatal(err)
		}
		if got.Digest != sent.Digest || got.Digest == "" {
			t.Errorf("digest %q, sent %q", got.Digest, sent.Digest)
		}
		if a, b := string(encode(t, got)), string(encode(t, sent)); a != b {
			t.Errorf("got  %s\nsent %s", a, b)
		}
		if got.Site() != "phuong-hoa-mai" || got.ArticleID() != "2026-1142" || got.Version() != sent.Version() {
			t.Errorf("concerns %s/%s version %d", got.Site(), got.ArticleID(), got.Version())
		}
	}
}

func TestDigestDependsOnMeaningAlone(t *testing.T) {
	a := fullArticle()
	want := events.NewPublished(source, a).Digest

	var event map[string]any
	if err := json.Unmarshal(encode(t, events.NewPublished("/another-cms", a)), &event); err != nil {
		t.Fatal(err)
	}
	spaced, err := json.MarshalIndent(event, "", "\t") // keys sorted, white space
	if err != nil {
		t.Fatal(err)
	}
	got, err := events.Parse(nil, spaced)
	if err != nil || got.Digest != want {
		t.Errorf("other key order and white space: %v, %s, want %s", err, got.Digest, want)
	}

	b := fullArticle()
	b.Published = b.Published.UTC()
	b.Title = norm.NFD.String(b.Title)
	if got := events.NewPublished(source, b).Digest; got != want {
		t.Errorf("other time zone and composition: %s, want %s", got, want)
	}
	b.Title += "!"
	if got := events.NewPublished(source, b).Digest; got == want {
		t.Error("another title has the same digest")
	}
}

func TestIDOfAnEventIsStable(t *testing.T) {
	first, again := events.NewPublished(source, fullArticle()), events.NewPublished(source, fullArticle())
	if first.ID != again.ID {
		t.Errorf("the same content has ids %s and %s", first.ID, again.ID)
	}
	seen := map[string]string{first.ID: "the original"}
	for what, e := range map[string]events.Event{
		"another source":  events.NewPublished("/cms", fullArticle()),
		"another version": events.NewPublished(source, func() events.Article { a := fullArticle(); a.Version++; return a }()),
		"another text":    events.NewPublished(source, func() events.Article { a := fullArticle(); a.Body += "."; return a }()),
		"a withdrawal":    events.NewWithdrawn(source, smallWithdrawal()),
	} {
		if other, ok := seen[e.ID]; ok {
			t.Errorf("%s and %s share an id", what, other)
		}
		seen[e.ID] = what
	}
}

func TestBinaryModeMeansTheSame(t *testing.T) {
	want := events.NewPublished(source, fullArticle())
	var event struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(encode(t, want), &event); err != nil {
		t.Fatal(err)
	}
	header := map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {want.ID}, "Ce-Source": {"https://cms.example.vn"}, "CE-TYPE": {want.Type},
		"ce-subject": {"phuong-hoa-mai%2F2026-1142"}, "ce-time": {"2026-12-01T09:00:00+07:00"},
		"ce-traceparent": {"00-a-b-01"}, "Content-Type": {"application/json; charset=utf-8"}, "Nats-Msg-Id": {want.ID},
	}
	got, err := events.Parse(header, event.Data)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := string(encode(t, got)), string(encode(t, want)); a != b || got.Digest != want.Digest {
		t.Errorf("got  %s\nwant %s", a, b)
	}

	header["ce-id"] = []string{"a", "b"}
	delete(header, "Ce-Source")
	header["ce-time"] = []string{"hôm qua%zz"}
	got2 := faultsOf(t, header, []byte(`{"site":"A"}`))
	for _, path := range []string{"/id: ", "/source: ", "/time: ", "/data/site: ", "/data/title: "} {
		if !slices.ContainsFunc(got2, func(s string) bool { return strings.HasPrefix(s, path) }) {
			t.Errorf("no fault at %s in %q", path, got2)
		}
	}
}

func TestEventsOfTheCloudEventsSDKAreTaken(t *testing.T) {
	e := cloudevents.New()
	e.SetID("1")
	e.SetSource("/cms/phuong")
	e.SetType(events.TypePublished)
	e.SetTime(time.Now())
	e.SetExtension("partitionkey", "phuong-hoa-mai")
	if err := e.SetData(cloudevents.ApplicationJSON, fullArticle()); err != nil {
		t.Fatal(err)
	}
	data, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := events.Parse(map[string][]string{"Content-Type": {"application/cloudevents+json; charset=UTF-8"}}, data)
	if err != nil {
		t.Fatal(err)
	}
	if want := events.NewPublished(source, fullArticle()).Digest; got.Digest != want || got.ID != "1" || got.Source != "/cms/phuong" {
		t.Errorf("got %+v", got)
	}

	// And the other way round: what we send is valid to them.
	var theirs cloudevents.Event
	if err := theirs.UnmarshalJSON(encode(t, events.NewWithdrawn(source, smallWithdrawal()))); err != nil {
		t.Fatal(err)
	}
	if err := theirs.Validate(); err != nil {
		t.Error(err)
	}
}

func TestFaultsAreNamedInPlainWords(t *testing.T) {
	const anyTime = "a time such as 2026-11-24T08:30:00+07:00, in the years 1990 to 2200"
	const address = "text of at most 2048 characters, an absolute http or https address without a user name"
	const source = address + ", or s3://bucket/key"
	id := "text of 1 to 256 characters, without control characters, and not beginning or ending with a space"
	site := "text of 1 to 40 characters, of small letters and digits, in words joined by single hyphens"
	set := func(name string, v any) func(event, data map[string]any) {
		return func(event, data map[string]any) {
			delete(event, "subject") // would be wrong as well, where site or id is edited
			data[name] = v
		}
	}
	attribute := func(name string, v any) func(event, data map[string]any) {
		return func(event, _ map[string]any) { event[name] = v }
	}
	image := func(v map[string]any) func(event, data map[string]any) { return set("images", []any{v}) }

	tests := map[string]struct {
		edit func(event, data map[string]any)
		want string
	}{
		"negative version":       {set("version", -3), "/data/version: got -3, expected an integer from 1 to 9007199254740991"},
		"version zero":           {set("version", 0), "/data/version: got 0, expected an integer from 1 to 9007199254740991"},
		"version 2^63":           {set("version", json.Number("9223372036854775808")), "/data/version: got 9223372036854775808, expected an integer from 1 to 9007199254740991"},
		"version 2^53":           {set("version", json.Number("9007199254740992")), "/data/version: got 9007199254740992, expected an integer from 1 to 9007199254740991"},
		"version as text":        {set("version", "7"), `/data/version: got "7", expected an integer from 1 to 9007199254740991`},
		"version with fraction":  {set("version", json.Number("7.0")), "/data/version: got 7.0, expected a number without fraction or exponent"},
		"year 9999":              {set("published", "9999-12-31T23:59:59Z"), `/data/published: got "9999-12-31T23:59:59Z", expected ` + anyTime},
		"year 1":                 {set("updated", "0001-01-01T00:00:00Z"), `/data/updated: got "0001-01-01T00:00:00Z", expected ` + anyTime},
		"Vietnamese date":        {set("published", "24/11/2026 08:30"), `/data/published: got "24/11/2026 08:30", expected ` + anyTime},
		"expiry before":          {set("expires_at", "2026-11-24T01:30:00Z"), `/data/expires_at: got "2026-11-24T01:30:00Z", expected a time after published`},
		"id with line break":     {set("id", "1\r\nNats-Msg-Id: 2"), `/data/id: got "1\r\nNats-Msg-Id: 2", expected ` + id},
		"blank id":               {set("id", "  "), `/data/id: got "  ", expected ` + id},
		"site with wildcard":     {set("site", "a.b.>"), `/data/site: got "a.b.>", expected ` + site},
		"site up the tree":       {set("site", "../../x"), `/data/site: got "../../x", expected ` + site},
		"site missing":           {func(_, d map[string]any) { delete(d, "site") }, "/data/site: got nothing, expected " + site},
		"category id":            {set("categories", []any{map[string]any{"id": "y tế"}}), `/data/categories/0/id: got "y tế", expected text of 1 to 64 characters, of letters without accents, digits, hyphens and underscores`},
		"null title":             {set("title", nil), "/data/title: got null, expected text of 1 to 500 characters, not blank"},
		"blank title":            {set("title", " \t"), `/data/title: got " \t", expected text of 1 to 500 characters, not blank`},
		"script address":         {set("url", "javascript:alert(1)"), `/data/url: got "javascript:alert(1)", expected ` + address},
		"relative address":       {set("url", "/tin/1"), `/data/url: got "/tin/1", expected ` + address},
		"password in address":    {set("url", "https://lan:mat/khau@hoamai.example.vn/?token=abc"), `/data/url: got "https://***@hoamai.example.vn/?***", expected ` + address},
		"image without source":   {image(map[string]any{"role": "lead"}), "/data/images/0: got neither, expected either url or data"},
		"image with both":        {image(map[string]any{"role": "lead", "url": "https://a.vn/1.jpg", "data": "aGk="}), "/data/images/0: got both, expected either url or data"},
		"image not base64":       {image(map[string]any{"role": "lead", "data": "***secret***"}), "/data/images/0/data: got 12 characters, expected a file in base64"},
		"image role":             {image(map[string]any{"role": "main", "url": "https://a.vn/1.jpg"}), `/data/images/0/role: got "main", expected "lead" or "inline" or "gallery"`},
		"focal point outside":    {image(map[string]any{"role": "lead", "url": "https://a.vn/1.jpg", "focal": map[string]any{"x": 1.5, "y": 0}}), "/data/images/0/focal/x: got 1.5, expected a number from 0 to 1"},
		"half a focal point":     {image(map[string]any{"role": "lead", "url": "https://a.vn/1.jpg", "focal": map[string]any{"x": 0.5}}), "/data/images/0/focal/y: got nothing, expected a number from 0 to 1"},
		"bucket without a key":   {image(map[string]any{"role": "lead", "url": "s3://anh/"}), `/data/images/0/url: got "s3://anh/", expected ` + source},
		"bucket for a page":      {set("url", "s3://anh/1.html"), `/data/url: got "s3://anh/1.html", expected ` + address},
		"half a place":           {set("places", []any{map[string]any{"name": "x", "latitude": 1}}), "/data/places/0/longitude: got nothing, expected both latitude and longitude, or neither"},
		"too many tags":          {set("tags", slices.Repeat([]any{"x"}, 65)), "/data/tags: got a list of 65 items, expected a list of at most 64 items"},
		"urgency":                {set("urgency", 9), "/data/urgency: got 9, expected an integer from 1 to 8"},
		"unknown field":          {set("Title", "x"), `/data/Title: got "x", expected no field of this name; there are attachments, authors, `},
		"nested unknown field":   {set("rights", map[string]any{"licence": "CC"}), `/data/rights/licence: got "CC", expected no field of this name; there are copyright, usage_terms`},
		"authors not a list":     {set("authors", "Lan"), `/data/authors: got "Lan", expected a list of at most 50 items`},
		"subject of another":     {attribute("subject", "khac/1"), `/subject: got "khac/1", expected "phuong-hoa-mai/2026-1142", the site and id of data`},
		"other type":             {attribute("type", "loa.article.deleted"), `/type: got "loa.article.deleted", expected "loa.article.published.v1" or "loa.article.withdrawn.v1"`},
		"old CloudEvents":        {attribute("specversion", "0.3"), `/specversion: got "0.3", expected "1.0"`},
		"no id":                  {func(e, _ map[string]any) { delete(e, "id") }, "/id: got nothing, expected " + id},
		"misspelt attribute":     {attribute("dataContentType", "application/json"), `/dataContentType: got "dataContentType", expected a name: CloudEvents names of small letters and digits`},
		"data in base64":         {attribute("data_base64", "e30="), `/data_base64: got "e30=", expected nothing: data must be JSON, in the field data`},
		"data a list":            {attribute("data", []any{}), "/data: got a list of 0 items, expected an object"},
		"XML":                    {attribute("datacontenttype", "text/xml"), `/datacontenttype: got "text/xml", expected text of at most 200 characters, application/json`},
		"time of the event 9999": {attribute("time", "9999-01-01T00:00:00Z"), `/time: got "9999-01-01T00:00:00Z", expected ` + anyTime},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := faultsOf(t, nil, edited(t, test.edit))
			if len(got) != 1 || !strings.HasPrefix(got[0], test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestWithdrawalsNameAReplacementOnlyWithRedirect(t *testing.T) {
	withdrawn := events.NewWithdrawn(source, smallWithdrawal())
	for _, test := range []struct {
		edit func(_, data map[string]any)
		want string
	}{
		{func(_, d map[string]any) { d["status"] = "redirect" },
			`/data/redirect_url: got nothing, expected the replacement's address, with the status "redirect"`},
		{func(_, d map[string]any) { d["redirect_url"] = "https://a.vn/" },
			`/data/redirect_url: got "https://a.vn/", expected nothing, with the status "gone"`},
		{func(_, d map[string]any) { d["status"] = "deleted" },
			`/data/status: got "deleted", expected "gone" or "redirect"`},
	} {
		if got := faultsOf(t, nil, editedEvent(t, withdrawn, test.edit)); len(got) != 1 || got[0] != test.want {
			t.Errorf("got  %q\nwant %q", got, test.want)
		}
	}
	ok := editedEvent(t, withdrawn, func(_, d map[string]any) {
		d["status"], d["redirect_url"] = "redirect", "https://a.vn/mới"
	})
	if e, err := events.Parse(nil, ok); err != nil || e.Withdrawal.RedirectURL != "https://a.vn/m%E1%BB%9Bi" {
		t.Errorf("got %+v, %v", e.Withdrawal, err)
	}
}

func TestEveryFaultIsReported(t *testing.T) {
	got := faultsOf(t, nil, edited(t, func(event, data map[string]any) {
		event["specversion"], data["version"], data["published"], data["site"] = "2", -1, "9999-01-01T00:00:00Z", "*"
		data["x"] = strings.Repeat("bí mật ", 100)
		data["images"] = []any{map[string]any{"role": "lead"}, map[string]any{"url": "ftp://a/b", "role": ""}}
	}))
	want := []string{"/data/images/0", "/data/images/1/role", "/data/images/1/url", "/data/published", "/data/site", "/data/version", "/data/x", "/specversion", "/subject"}
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i, path := range want {
		if !strings.HasPrefix(got[i], path+": got ") {
			t.Errorf("got %q, want a fault at %s", got[i], path)
		}
	}
}

func TestManyFaultsAreBounded(t *testing.T) {
	data := edited(t, func(_, data map[string]any) {
		var tags []any
		for range 64 {
			tags = append(tags, 1)
		}
		data["tags"] = tags
		for i := range 400 {
			data[fmt.Sprintf("field-%d-%s", i, strings.Repeat("\n", 1000))] = strings.Repeat("x", 1000)
		}
	})
	_, err := events.Parse(nil, data)
	var bad *events.InvalidError
	if !errors.As(err, &bad) || len(bad.Faults) != events.MaxFaults || bad.Total != 464 {
		t.Fatalf("got %d faults of %d", len(bad.Faults), bad.Total)
	}
	if text := bad.Error(); !strings.HasSuffix(text, "; and 444 more") || len(text) > 20<<10 || strings.Contains(text, "\n") {
		t.Errorf("got %d bytes: %s", len(text), text)
	}
}

func TestUnsafeIDsMakeSafeSubjects(t *testing.T) {
	for _, id := range []string{"a.b.>", "*", "Tin tức 1", "../../x", "h--00000000000000000000000000000000", strings.Repeat("x", 256), "Bài-1"} {
		a := smallArticle()
		a.ID = id
		e, err := events.Parse(nil, encode(t, events.NewPublished(source, a)))
		if err != nil {
			t.Errorf("id %q: %v", id, err)
			continue
		}
		token := strings.TrimPrefix(events.Subject(e.Site(), e.ArticleID()), "loa.event.phuong-hoa-mai.")
		if len(token) != len("h--")+32 || !strings.HasPrefix(token, "h--") || token == id {
			t.Errorf("id %q: token %q", id, token)
		}
		if e.ArticleID() != id {
			t.Errorf("id %q became %q", id, e.ArticleID())
		}
	}
	if got := events.Subject("phuong-hoa-mai", "2026_11-42"); got != "loa.event.phuong-hoa-mai.2026_11-42" {
		t.Errorf("a safe id: %q", got)
	}
	decomposed := norm.NFD.String("Bài-1")
	if events.Token(decomposed) != events.Token("Bài-1") {
		t.Error("two compositions of one id have two tokens")
	}
	a := smallArticle()
	a.ID = decomposed
	if e, err := events.Parse(nil, encode(t, events.NewPublished(source, a))); err != nil || e.ArticleID() != "Bài-1" {
		t.Errorf("a decomposed id became %q, %v", e.ArticleID(), err)
	}
}

func TestAddressesBecomeASCII(t *testing.T) {
	a := fullArticle()
	a.Images[0].URL = "https://hoamai.example.vn/ảnh/lễ-hội.jpg?cỡ=1"
	e, err := events.Parse(nil, encode(t, events.NewPublished(source, a)))
	if want := "https://hoamai.example.vn/%E1%BA%A3nh/l%E1%BB%85-h%E1%BB%99i.jpg?c%E1%BB%A1=1"; err != nil || e.Article.Images[0].URL != want {
		t.Errorf("got %+v, %v", e.Article, err)
	}
	if a.Images[0].URL[26] == '%' {
		t.Error("the caller's article was changed")
	}
}
