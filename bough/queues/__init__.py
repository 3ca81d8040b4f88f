"""Queues: work that is accepted now and done later, and never lost in between.

Nouns: queue (items that wait for a handler), handler (the service or function that works on a queue's items), consumer
(hands a queue's items to its handler), lease (an item is one consumer's, for a time), round (all writes that gathered
meanwhile, one commit), dead letter (an item that is not tried again), dedup id (who puts the same twice, puts it once),
delivery (somebody is told of an item's end).
Promises: an id is given when the item is on disk; an item is handed over until the handler has answered or its retries
are used up, and then it is a dead letter that can be replayed; of two items with one dedup id there is one; an answer
counts once; items of one key run in order; a handler's death costs the items beside the one that killed it one attempt
at most; enqueuing needs the gateway alone.
Never: says that a handler runs exactly once. An item whose answer was lost runs again: `bough.Item.once` makes its
effect in a database happen once all the same.
"""
