"""Approvals: who may release what, by how many different people, and for exactly which content.

Promise: nobody approves what they made, edited or submitted; each approval of a request is another person's; two at once
advance one level; an approval holds for the content that was approved and for no other; every step is kept.
"""
