package gateway

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed feedpage.html
	feedPageHTML string
	//go:embed page.css
	pageCSS string

	pages = template.Must(template.New("").Funcs(pageFuncs).Parse(pageHTML + feedPageHTML))

	// pagePolicy lets a page have the one style sheet above, and nothing else.
	pagePolicy = StylePolicy(pageCSS)
)

// page is what page.html shows: the index, or a few words.
type page struct {
	// Language is the page's, and Words are those that it has in each; the index is in Vietnamese.
	Language    string
	Words       words
	Title, Lead string
	Alternates  []link
	Index       bool
	Sites       []*indexSite
	// Left is how many feeds there was no room for.
	Left int
	Home string
}

type link struct {
	Type, Title, Label, URL string
}

func (p page) render() ([]byte, error) {
	var b bytes.Buffer
	err := pages.ExecuteTemplate(&b, "page", p)
	return b.Bytes(), err
}

// problemWords say to people what went wrong.
var problemWords = [pageLanguages]map[int]string{
	pageVietnamese: {
		http.StatusNotFound:            "Không có nội dung nào ở địa chỉ này.",
		http.StatusGone:                "Nội dung ở địa chỉ này đã được gỡ bỏ.",
		http.StatusMethodNotAllowed:    "Địa chỉ này chỉ dùng để đọc.",
		http.StatusServiceUnavailable:  "Nội dung này tạm thời chưa đọc được. Xin thử lại sau ít phút.",
		http.StatusInternalServerError: "Hệ thống gặp lỗi khi trả lời. Xin thử lại sau.",
	},
	pageEnglish: {
		http.StatusNotFound:            "There is nothing at this address.",
		http.StatusGone:                "What was at this address has been removed.",
		http.StatusMethodNotAllowed:    "This address is for reading only.",
		http.StatusServiceUnavailable:  unavailable,
		http.StatusInternalServerError: "Something went wrong here. Please try again later.",
	},
}

// problem answers with an error: a page for people, problem details (RFC 9457) for programs.
// It replaces what a handler has said about the answer that was to come.
func (g *Gateway) problem(w http.ResponseWriter, r *http.Request, status int, detail string) {
	h := w.Header()
	for _, name := range []string{"Etag", "Last-Modified", "Link", "Content-Encoding", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept")
	var body []byte
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		lang := pageLanguage(r)
		said := pageWords[lang]
		body, _ = page{Language: pageTags[lang], Words: said, Title: said.Error + " " + strconv.Itoa(status), Lead: problemWords[lang][status], Home: g.o.PublicURL}.render()
		h.Set("Content-Language", pageTags[lang])
		h.Set("Vary", "Accept, Accept-Language")
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", pagePolicy)
	} else {
		body, _ = json.Marshal(struct {
			Type   string `json:"type"`
			Title  string `json:"title"`
			Status int    `json:"status"`
			Detail string `json:"detail"`
		}{"about:blank", http.StatusText(status), status, detail})
		h.Set("Content-Type", "application/problem+json")
		h.Set("Content-Security-Policy", inert)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}
