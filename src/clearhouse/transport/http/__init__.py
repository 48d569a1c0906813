"""HTTP: the entrance that lets callers in, problem documents, pages, bulk bodies, and the application around them.

Promise: nothing passes without a credential but what is public by name; every refusal is a problem document with a stable
code; bodies are bounded in size, depth and time.
"""
