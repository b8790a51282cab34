// Go's default transport, with nothing changed but the proxy.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

func main() {
	proxy, err := url.Parse(os.Args[1])
	if err != nil {
		panic(err)
	}
	if os.Args[2] != "" {
		proxy.User = url.UserPassword(os.Args[2], os.Args[3])
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(proxy)
	client := &http.Client{Transport: transport}
	for _, step := range os.Args[4:] {
		words := strings.Split(step, " ")
		var body io.Reader
		if words[0] == "POST" {
			length, _ := strconv.Atoi(words[2])
			body = strings.NewReader(strings.Repeat("x", length))
		}
		if err := send(client, words[0], words[1], body); err != nil {
			fmt.Println("error:", err)
		}
	}
	client.CloseIdleConnections()
}

func send(client *http.Client, method, url string, body io.Reader) error {
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	shown := string(answer)
	if len(answer) > 100 {
		shown = fmt.Sprintf("%x", sha256.Sum256(answer))
	}
	fmt.Println(response.StatusCode, shown)
	return nil
}
