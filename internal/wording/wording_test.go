package wording

import "testing"

func TestSame(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"What is the capital of France?", "Tell me France's capital", true},
		{"What is the capital of France?", "could you please tell me what the capital of France is", true},
		{"What is the capital of France?", "What is the capital of Germany?", false},
		{"What is the capital of France?", "What was the capital of France?", false},
		{"In Python, how do I sort a list?", "What's the best way to sort lists in Python?", true},
		{"How much does a new car cost?", "what is the price of a new car", true},
		{"How far is it from Rome to Paris?", "how far is it to Paris from Rome", true},
		{"How far is it from Rome to Paris?", "How far is it from Paris to Rome?", false},
		{"How far are 5km?", "how far are 5 kilometers", true},
		{"How far are 5km?", "how far are 5 miles", false},
		{"vitamin A", "vitamin", false},
		{"hepatitis a symptoms", "hepatitis symptoms", false},
		{"Is this illness contagious?", "Is this disease contagious?", true},
		{"What is the difference between illness and disease?", "What is the difference between disease and sickness?", false},
		{"What is another word for fast?", "What is another word for quick?", false},
		{"Translate autumn into French", "Translate fall into French", false},
		{"World War I", "World War", false},
		{"How many homes does a 5 MW plant power?", "How many homes does a 5 mW plant power?", false},
		{"How many homes does a 5MW plant power?", "How many homes does a 5mW plant power?", false},
		{"How long do 10 Gb take?", "How long do 10 GB take?", false},
		{"How long do 10GB take?", "how long do 10 GB take", true},
		{"How far are 5 KM?", "how far are 5km", true},
		{"What are 5 AI tools?", "what are 5 ai tools", true},
		{"What is the value of G?", "What is the value of g?", false},
		{"What is the integral of e^x?", "What is the integral of E^x?", false},
		{"What is 5!?", "What is 5?", false},
		{"What is the growth of n!", "What is the growth of n?", false},
		{"Tell me a joke!", "tell me a joke", true},
		{"What is 2+2?", "What is 2+3?", false},
		{"a few people", "few people", false},
		{"Translate 'good morning' into French", "Translate 'good evening' into French", false},
		{"Who did Brutus kill?", "Who killed Brutus?", false},
		{"Is it going to rain?", "Will it rain?", true},
		{"", "", false},
		{"?", "?", false},
	} {
		if got := Of(tc.a).Same(Of(tc.b)); got != tc.same {
			t.Errorf("%q and %q: %v\n%s\n%s", tc.a, tc.b, got, Of(tc.a), Of(tc.b))
		}
	}
}

func FuzzOf(f *testing.F) {
	for _, s := range []string{"What is the capital of France?", "how to 'x' in \u201ey\u201d", "I'm 5km's", "(((", "", "\x1c", "\xff'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, b := Of(s), Of(s); a.Same(b) != a.Exists() {
			t.Errorf("%q is not like itself", s)
		}
	})
}
