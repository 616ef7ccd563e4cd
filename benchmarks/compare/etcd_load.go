// The opponent at its best: etcd driven by its own Go client, clientv3. Callers share one client and its connection, and
// call again as soon as they are answered (a closed loop, as benchmarks/load.py). Standard output: the line "measuring"
// when the warm-up is over, "measured" when the measured time is, then one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand"
	"os"
	"sort"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/clientv3"
)

var (
	endpoint   = flag.String("endpoint", "", "HOST:PORT of the member that is called")
	op         = flag.String("op", "put", "put, local or linearizable")
	callers    = flag.Int("callers", 1, "calls in flight")
	valueBytes = flag.Int("value-bytes", 100, "of each value that is put")
	keys       = flag.Int("keys", 1, "keys are 16 digits, drawn from 0 to this")
	warmUp     = flag.Duration("warm-up", time.Second, "before anything counts")
	measure    = flag.Duration("measure", time.Second, "what counts")
)

const callTimeout = 10 * time.Second

type result struct {
	PerS  float64 `json:"per_s"`
	P50ms float64 `json:"p50_ms"`
	P99ms float64 `json:"p99_ms"`
	Calls int     `json:"calls"`
	CPUus float64 `json:"cpu_us"`
}

func main() {
	flag.Parse()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{*endpoint}, DialTimeout: callTimeout})
	if err != nil {
		log.Fatal(err)
	}
	begin := time.Now().Add(*warmUp)
	end := begin.Add(*measure)
	latencies := make([][]float64, *callers)
	var running sync.WaitGroup
	for i := range latencies {
		running.Add(1)
		go func(i int) {
			defer running.Done()
			latencies[i] = call(client, int64(i), begin, end)
		}(i)
	}
	time.Sleep(time.Until(begin))
	before := cpuSeconds()
	fmt.Println("measuring")
	time.Sleep(time.Until(end))
	used := cpuSeconds() - before
	fmt.Println("measured")
	running.Wait()
	report(latencies, used)
}

// call returns the milliseconds of each call that ended within the measured time. A call that fails ends the process.
func call(client *clientv3.Client, seed int64, begin, end time.Time) []float64 {
	dice := rand.New(rand.NewSource(seed))
	value := make([]byte, *valueBytes)
	dice.Read(value)
	var found []float64
	for {
		started := time.Now()
		if !started.Before(end) {
			return found
		}
		if err := once(client, fmt.Sprintf("%016d", dice.Intn(*keys)), string(value)); err != nil {
			log.Fatal(err)
		}
		ended := time.Now()
		if !ended.Before(begin) && !ended.After(end) {
			found = append(found, ended.Sub(started).Seconds()*1000)
		}
	}
}

func once(client *clientv3.Client, key, value string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if *op == "put" {
		_, err := client.Put(ctx, key, value)
		return err
	}
	var options []clientv3.OpOption
	if *op == "local" {
		options = append(options, clientv3.WithSerializable())
	}
	found, err := client.Get(ctx, key, options...)
	if err == nil && len(found.Kvs) == 0 {
		err = fmt.Errorf("%s was written and is not found", key)
	}
	return err
}

func report(latencies [][]float64, cpu float64) {
	var all []float64
	for _, own := range latencies {
		all = append(all, own...)
	}
	if len(all) == 0 {
		log.Fatalf("no call ended within %v: measure for longer", *measure)
	}
	sort.Float64s(all)
	at := func(share float64) float64 { return all[int(share*float64(len(all)-1))] }
	count := float64(len(all))
	found := result{count / measure.Seconds(), at(0.50), at(0.99), len(all), cpu / count * 1e6}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func cpuSeconds() float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		log.Fatal(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(use.Utime) + seconds(use.Stime)
}
