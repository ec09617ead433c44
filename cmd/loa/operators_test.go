package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/receiver"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// publishOne publishes an article of the sample city's ward.
func (c *city) publishOne(id, more string) {
	c.t.Helper()
	c.runLines(line{"publish --data {data} " + c.write(id+".md", "---\nsite: "+sample.CauGo+"\nid: "+id+"\nurl: https://caugo.anhoa.example/"+id+
		"\ntitle: Tin "+id+"\n"+more+"---\nNội dung.\n"), 0, []string{"in the log"}})
}

func TestDeliveriesAreShown(t *testing.T) {
	t.Parallel()
	good, bad := &partner{name: "tot"}, &partner{name: "hong"}
	c := newCity(t, good, bad)
	bad.fault.Store(receiver.Status(422, "thiếu ảnh"))
	c.serve()
	c.publishOne("tin-1", "")
	waitFor(t, "both attempts to be told", func() bool {
		_, out, _ := c.command("deliveries", "tail", "--data", c.data)
		return strings.Contains(out, "delivered 204") && strings.Contains(out, "refused   422")
	})
	_, out, _ := c.command("deliveries", "tail", "--data", c.data, "--failed", "--json")
	var v deliveryView
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Portal != "hong" || v.Site != sample.CauGo || v.Article != "tin-1" || v.Version != "1" ||
		v.Outcome != "refused" || v.Status != 422 || v.Attempt != 1 || !strings.Contains(v.Error, "thiếu ảnh") {
		t.Errorf("%v: %s", err, out)
	}
	c.runLines(
		line{"deliveries tail --data {data} --portal tot", 0, []string{sample.CauGo + "/tin-1 version 1"}},
		line{"deliveries tail --data {data} --portal tot --failed", 0, []string{"No deliveries since"}},
		line{"deliveries tail --data {data} --since hôm-qua", 1, []string{"--since", "dd/mm/yyyy"}},
	)
}

func TestPortalsAreTested(t *testing.T) {
	t.Parallel()
	good, bad := &partner{name: "tot"}, &partner{name: "hong"}
	c := newCity(t, good, bad)
	bad.fault.Store(receiver.Status(401, "sai chữ ký"))
	c.serve()
	c.runLines(
		line{"portals test --data {data} tot", 0, []string{"tot answered 204"}},
		line{"portals test --data {data} hong", 1, []string{`portal "hong" answered 401`, "sai chữ ký", "compare the secret"}},
		line{"portals test --data {data} khong-co", 1, []string{"khong-co", "loa portals ls"}},
		line{"portals add --data {data} xa --url http://127.0.0.1:9999/loa --secret-file " + good.secretFile, 0, nil},
		line{"portals test --data {data} xa", 1, []string{"not called", "--allow"}},
	)
	_, out, _ := c.command("portals", "test", "--data", c.data, "hong", "--json")
	var v pongView
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Portal != "hong" || v.Status != 401 || v.Outcome != "down" ||
		!strings.HasPrefix(v.Delivery, "ping_") || v.Line != "sai chữ ký" || v.Advice == "" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestStatsOfPortals(t *testing.T) {
	t.Parallel()
	good, bad := &partner{name: "tot"}, &partner{name: "hong"}
	c := newCity(t, good, bad)
	bad.fault.Store(receiver.Status(422, "thiếu ảnh"))
	c.serve()
	c.publishOne("tin-1", "")
	c.publishOne("tin-2", "")
	stats := func(name string) (v portalStats) {
		_, out, _ := c.command("portals", "stats", "--data", c.data, name, "--json")
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return v
	}
	waitFor(t, "all attempts to be counted", func() bool {
		return stats("tot").Delivered == 2 && stats("hong").Refused == 2
	})
	if v := stats("tot"); v.Failed != 0 || v.Refused != 0 || v.Tries != 1 || v.P50 <= 0 || v.P99 < v.P50 || v.State != "up" {
		t.Errorf("%+v", v)
	}
	if v := stats("hong"); v.Delivered != 0 || v.Failed != 0 || v.Tries != 0 || v.P99 <= 0 || v.Waiting != 2 || v.Oldest == nil {
		t.Errorf("%+v", v)
	}
	c.runLines(
		line{"portals stats --data {data}", 0, []string{"DELIVERED", "tot", "hong", "1.00"}},
		line{"portals stats --data {data} khong-co", 1, []string{"khong-co", "loa portals ls"}},
		line{"portals stats --data {data} --since mai", 1, []string{"--since"}},
	)
}

func TestSecretsAreRotatedWithAnOverlap(t *testing.T) {
	t.Parallel()
	p := &partner{name: "tot"}
	c := newCity(t, p)
	c.serve()
	n := 0
	answered := func(want string) {
		t.Helper()
		n++
		id := "tin-" + strconv.Itoa(n)
		c.publishOne(id, "")
		waitFor(t, id+" to be answered "+want, func() bool {
			_, out, _ := c.command("deliveries", "tail", "--data", c.data)
			return slices.ContainsFunc(strings.Split(out, "\n"), func(l string) bool { return strings.Contains(l, want) && strings.Contains(l, "/"+id+" ") })
		})
	}
	show := line{"portals show --data {data} tot", 0, []string{"signs     v1, and with a former secret until"}}

	status, out, faults := c.command("portals", "rotate", "--data", c.data, "tot")
	_, fresh, shown := strings.Cut(out, "not shown again: ")
	if status != 0 || !shown || !strings.Contains(out, "The old one signs as well until") {
		t.Fatalf("status %d: %s%s", status, out, faults)
	}
	c.runLines(show)
	answered("delivered 204") // by the old secret
	c.runLines(
		line{"portals rotate --data {data} tot --now", 0, []string{"Only the current secret of tot signs"}},
		line{"portals rotate --data {data} tot --now", 0, []string{"No former secret of tot"}},
		line{"portals rotate --data {data} tot --secret-file " + p.secretFile, 1, []string{"it has had this secret already"}},
		line{"portals rotate --data {data} tot --overlap 2161h", 1, []string{"2161h0m0s", "2160h0m0s"}},
		line{"portals rotate --data {data} khong-co", 1, []string{"khong-co"}},
	)
	answered("down      401")
	fresh, _, _ = strings.Cut(fresh, "\n")
	p.reopen(t, fresh)
	waitFor(t, "what waited to come with the new secret", func() bool { return len(p.history()) == n })

	_, out, _ = c.command("portals", "rotate", "--data", c.data, "tot", "--ed25519", "--overlap", "0s")
	_, public, shown := strings.Cut(out, "The public key to give to the portal: ")
	if !shown || strings.Contains(out, "whsk_") {
		t.Fatalf("%s", out)
	}
	public, _, _ = strings.Cut(public, "\n")
	p.reopen(t, public)
	answered("delivered 204")
	c.runLines(line{"portals history --data {data} tot", 0, []string{"tot rotated by", "[secret] changed"}})

	kept, found := c.session(), false
	kv, err := kept.js.KeyValue(t.Context(), streams.PortalsBucket)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.ListKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for key := range keys.Keys() {
		e, err := kv.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		found = found || strings.Contains(string(e.Value()), "sealed:1:")
		if strings.Contains(string(e.Value()), "whs") {
			t.Errorf("%s holds a secret in clear", key)
		}
	}
	if !found {
		t.Error("no secret is kept sealed")
	}
}
