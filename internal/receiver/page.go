package receiver

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
)

//go:embed page.html
var pageHTML string

//go:embed style.css
var styleCSS []byte

// onPage is how many articles a page shows.
const onPage = 30

// vietnam is the time zone of the page; it knows no summer time.
var vietnam = time.FixedZone("+07", 7*60*60)

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"date":   func(t time.Time) string { return t.In(vietnam).Format("02/01/2006 15:04") },
	"stamp":  func(t time.Time) string { return t.Format(time.RFC3339) },
	"link":   link,
	"srcset": srcset,
}).Parse(pageHTML))

// page answers GET /: the articles held, the latest publication first.
func (r *Receiver) page(w http.ResponseWriter, req *http.Request) {
	all := r.Held()
	pages := max((len(all)+onPage-1)/onPage, 1)
	n, err := strconv.Atoi(req.URL.Query().Get("trang"))
	if err != nil {
		n = 1
	}
	n = min(max(n, 1), pages)
	var out bytes.Buffer
	err = pageTemplate.Execute(&out, struct {
		Name              string
		Counts            Counts
		Total             int
		Held              []Held
		Page, Pages       int
		Previous, Next    int // 0: none
		StatusOfWithdrawn string
	}{
		Name: r.name, Counts: r.Counts(), Total: len(all), Page: n, Pages: pages, Previous: n - 1, Next: (n + 1) % (pages + 1),
		Held: all[(n-1)*onPage : min(n*onPage, len(all))], StatusOfWithdrawn: events.StatusWithdrawn,
	})
	if err != nil {
		r.log.Error().Err(err).Msg("page not rendered")
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(out.Bytes())
}

func style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=300")
	w.Write(styleCSS)
}

// link gives an address that may be followed, empty if it is not http or https.
func link(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return ""
	}
	return u.String()
}

// srcset lists the renditions of one type, the lead image's own first choice being WebP.
func srcset(image *events.BulletinImage) string {
	var set []string
	for _, r := range image.Renditions {
		if address := link(r.URL); address != "" && r.MediaType == "image/webp" && !strings.ContainsAny(address, " ,") {
			set = append(set, address+" "+strconv.Itoa(r.Width)+"w")
		}
	}
	return strings.Join(set, ", ")
}
