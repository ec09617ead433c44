package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/sample"
)

// read gets an address of the gateway, with a key if there is one.
func (c *city) read(path, key string) (status int, body []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.gateway+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, body
}

// addKey makes a key by the command.
func (c *city) addKey(args ...string) string {
	c.t.Helper()
	var out bytes.Buffer
	run(&env{c.t.Context(), &out, &out}, append([]string{"keys", "add", "--data", c.data, "--json"}, args...))
	var made keyView
	if err := json.Unmarshal(out.Bytes(), &made); err != nil || made.Text == "" {
		c.t.Fatalf("%v: %s", err, out.String())
	}
	c.secrets = append(c.secrets, made.Text)
	return made.Text
}

func TestChangesAreInTheAPIWithinTheTimeThatTheFeedTakes(t *testing.T) {
	t.Parallel()
	c := newCity(t)
	c.serve()
	key := c.addKey("Báo An Hòa", "--rate", "1000/s", "--content", "full")
	feed := "/feeds/" + sample.CauGo + "/feed.json"
	for i := range 4 {
		title := fmt.Sprintf("Bản %d", i)
		began := time.Now()
		c.runLines(line{"publish --data {data} --wait 0s " + c.write("tin.md", "---\nsite: "+sample.CauGo+"\nid: tin\nurl: https://caugo.anhoa.example/tin\ntitle: "+title+
			"\nversion: "+fmt.Sprint(i+1)+"\n---\nNội dung.\n"), 0, nil})
		waitFor(t, title+" to be in the feed", func() bool {
			_, body := c.read(feed, "")
			return strings.Contains(string(body), title)
		})
		took := time.Since(began)
		for {
			_, body := c.read("/v1/articles?subtree="+sample.City, key)
			if strings.Contains(string(body), title) {
				break
			}
			if time.Since(began) > 2*took {
				t.Fatalf("%s was in the feed after %s, and not in the API as long after it", title, took)
			}
		}
	}
	c.runLines(line{"withdraw --data {data} " + sample.CauGo + "/tin --reason Nhầm", 0, nil})
	waitFor(t, "the withdrawal to be in the API", func() bool {
		status, body := c.read("/v1/articles/"+sample.CauGo+"/tin", key)
		return status == http.StatusGone && strings.Contains(string(body), "Nhầm")
	})
	if status, body := c.read("/v1/articles/"+sample.CauGo+"/tin/versions", key); status != http.StatusGone {
		t.Errorf("former versions of what was withdrawn: %d %s", status, body)
	}
	c.runLines(line{"publish --data {data} " + c.write("tin.md", "---\nsite: "+sample.CauGo+"\nid: tin\nurl: https://caugo.anhoa.example/tin\ntitle: Bản mới\n---\nNội dung.\n"), 0, nil},
		line{"publish --data {data} " + c.write("tin-2.md", "---\nsite: "+sample.CauGo+"\nid: tin\nurl: https://caugo.anhoa.example/tin\ntitle: Bản mới nhất\n---\nNội dung <script>x</script>khác.\n"), 0, nil})
	waitFor(t, "the versions since the withdrawal to be listed, and none before it", func() bool {
		_, body := c.read("/v1/articles/"+sample.CauGo+"/tin/versions", key)
		return strings.Contains(string(body), `"Bản mới nhất"`) && strings.Contains(string(body), `"Bản mới"`) && !strings.Contains(string(body), `"Bản 3"`)
	})
}

func TestStrangersSeeNoMoreThanTheConfigurationSays(t *testing.T) {
	t.Parallel()
	for public, want := range map[string]struct {
		status int
		text   bool
	}{"none": {http.StatusNotFound, false}, "summary": {http.StatusOK, false}, "full": {http.StatusOK, true}} {
		t.Run(public, func(t *testing.T) {
			t.Parallel()
			c := newCity(t)
			file, err := os.OpenFile(c.config, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = file.WriteString("\napi: {public: " + public + "}\n")
			if err = errors.Join(err, file.Close()); err != nil {
				t.Fatal(err)
			}
			c.serve()
			c.publishOne("tin", "")
			if status, body := c.read("/articles/"+sample.CauGo+"/tin", ""); status != want.status || strings.Contains(string(body), `"body"`) != want.text {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}
