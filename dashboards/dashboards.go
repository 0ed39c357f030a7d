package dashboards

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
)

// All returns every board, in the order in which they are read: from the whole to the parts.
func All() []Board {
	return []Board{
		overview(),
		node(),
		containerBoard(),
		workload(),
		serviceMap(),
		databases(),
		network(),
		security(),
		rule(),
		integrity(),
		posture(),
		objectives(),
		agent(),
		store(),
	}
}

//go:embed *.json
var files embed.FS

// served is the list of boards as an answer, and each by UID.
var served = sync.OnceValue(func() map[string][]byte {
	type row struct {
		UID         string `json:"uid"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}
	list := struct {
		Data []row  `json:"data"`
		Next string `json:"next"`
	}{Data: []row{}}
	out := map[string][]byte{}
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the files are part of the program
	}
	for _, e := range entries {
		text, err := files.ReadFile(e.Name())
		var r row
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			panic(fmt.Sprintf("dashboards/%s: %v", e.Name(), err))
		}
		list.Data, out[r.UID] = append(list.Data, r), text
	}
	out[""], _ = json.Marshal(list)
	return out
})

// Mount adds the dashboards at /api/yagura/dashboards.
func Mount(mux *http.ServeMux) {
	const prefix = "/api/yagura/dashboards"
	mux.Handle(prefix, Handler(prefix))
	mux.Handle(prefix+"/", Handler(prefix))
}

// Handler serves the dashboards under its path: the list as {"data": […], "next": ""} at the path itself, and at the path and a UID
// the JSON that Grafana imports, such as /api/yagura/dashboards/yagura-overview.
func Handler(prefix string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "dashboards are only read", http.StatusMethodNotAllowed)
			return
		}
		uid := strings.Trim(strings.TrimPrefix(r.URL.Path, prefix), "/")
		text, ok := served()[strings.TrimSuffix(uid, path.Ext(uid))]
		if !ok {
			http.Error(w, fmt.Sprintf("no dashboard %q", uid), http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(text)
	})
}
